"""The regression estimate of a mean: value, error and independence of how the draws are dealt out."""

import numpy as np
import pytest

from bnlens.simulate._regression import ControlledMean


def draws(count: int, seed: int):
    generator = np.random.default_rng(seed)
    controls = generator.standard_normal((count, 2)) * [1.0, 1e-4]
    values = 3.0 + 5 * controls[:, 0] - 4e4 * controls[:, 1] + generator.standard_normal(count)
    return values, controls


def controlled(values, controls, parts=1) -> tuple[float, float]:
    mean = ControlledMean()
    for some in np.array_split(np.arange(len(values)), parts):
        mean.update(values[some], controls[some])
    return mean.compute()


@pytest.mark.parametrize("count", [60, 1_000, 1_234])
def test_is_the_intercept_of_least_squares_however_it_is_split(count):
    values, controls = draws(count, seed=0)
    whole = controlled(values, controls)
    expected = np.linalg.lstsq(np.column_stack([np.ones(count), controls]), values, rcond=None)[0][0]
    assert whole[0] == pytest.approx(expected)
    assert controlled(values, controls, parts=7) == pytest.approx(whole)


def test_error_is_that_of_the_residuals():
    value, stderr = controlled(*draws(20_000, seed=2))
    assert stderr == pytest.approx(1 / np.sqrt(20_000), rel=0.2)
    assert abs(value - 3.0) < 4 * stderr


def test_error_covers_heavy_tailed_controls():
    # d is curved in c, and c = e^2 - 2 of an exponential e is heavy-tailed: the noise of the slope counts.
    def run(seed: int) -> tuple[float, float]:
        e = np.random.default_rng(seed).standard_exponential(400)
        return controlled(e**3, (e**2 - 2)[:, None])

    values, stated = np.array([run(seed) for seed in range(300)]).T
    assert 0.9 < np.sqrt(np.mean(stated**2)) / values.std() < 1.6
