import math

import numpy as np
import pytest
import torch
from scipy import stats

from bnlens.moments import MomentEstimates, MomentSums, compute_moments, update_moments


def estimates_of(samples: np.ndarray, *, bessel: bool = False) -> MomentEstimates:
    return compute_moments(update_moments(MomentSums.empty(samples.shape[1]), torch.from_numpy(samples)), bessel=bessel)


@pytest.mark.parametrize("bessel", [False, True])
@pytest.mark.parametrize("samples", [2, 5, 4000])
def test_agrees_with_numpy_and_scipy(samples: int, bessel: bool) -> None:
    data = np.random.default_rng(0).gamma(2.0, size=(samples, 4)) * [1, 10, -3, 1e-3] + [0, 1, -7, 2]
    estimates = estimates_of(data, bessel=bessel)
    assert (estimates.count, estimates.skipped_batches) == (samples, 0)
    np.testing.assert_allclose(estimates.mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(estimates.variance, data.var(0, ddof=int(bessel)), rtol=1e-9)
    np.testing.assert_allclose(estimates.std, data.std(0, ddof=int(bessel)), rtol=1e-9)
    np.testing.assert_allclose(estimates.skewness, stats.skew(data), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(estimates.excess_kurtosis, stats.kurtosis(data), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(estimates.mean_stderr, stats.sem(data), rtol=1e-9)


def test_standard_errors_are_the_spread_over_repetitions() -> None:
    """Channels as repetitions of one experiment; the spread of R estimates is known to a relative 1/sqrt(2R)."""
    samples, repetitions = 50, 20_000
    data = np.random.default_rng(1).normal(size=(samples, repetitions))
    for bessel in (False, True):
        estimates = estimates_of(data, bessel=bessel)
        for name in ("mean", "variance", "skewness", "excess_kurtosis"):
            claimed = getattr(estimates, f"{name}_stderr").square().mean().sqrt().item()
            assert claimed == pytest.approx(getattr(estimates, name).std().item(), rel=0.04), name


def test_the_standard_error_of_the_variance_knows_the_tails() -> None:
    samples, repetitions = 1000, 4000
    data = np.random.default_rng(2).exponential(size=(samples, repetitions))
    estimates = estimates_of(data)
    claimed = estimates.variance_stderr.square().mean().sqrt().item()
    assert claimed == pytest.approx(estimates.variance.std().item(), rel=0.06)
    # Theory: sigma^2 sqrt((rho + 2) / n) with rho = 6, twice what Gaussian tails would give.
    assert claimed == pytest.approx(math.sqrt(8 / samples), rel=0.06)


def test_what_too_few_samples_cannot_give_is_nan() -> None:
    nothing = compute_moments(MomentSums.empty(2))
    for name in ("mean", "variance", "skewness", "excess_kurtosis", "mean_stderr", "variance_stderr"):
        assert getattr(nothing, name).isnan().all(), name
    one = estimates_of(np.array([[4.0]]))
    assert (one.mean.item(), one.variance.item()) == (4.0, 0.0)
    for name in ("skewness", "excess_kurtosis", "mean_stderr", "variance_stderr", "excess_kurtosis_stderr"):
        assert getattr(one, name).isnan().all(), name
    for count in (0, 1):
        assert estimates_of(np.ones((count, 1)), bessel=True).variance.isnan().all()
    three = estimates_of(np.array([[1.0], [2.0], [4.0]]))
    assert three.skewness_stderr.isfinite().all()
    assert three.excess_kurtosis_stderr.isnan().all()


def test_a_constant_channel_has_no_shape() -> None:
    estimates = estimates_of(np.stack([np.full(1000, 0.1), np.zeros(1000), np.arange(1000.0)], axis=1))
    for name in ("skewness", "excess_kurtosis", "skewness_stderr", "excess_kurtosis_stderr"):
        assert getattr(estimates, name).isnan().tolist() == [True, True, False], name
    np.testing.assert_allclose(estimates.mean, [0.1, 0, 499.5], rtol=1e-14)
    np.testing.assert_allclose(estimates.variance[:2], 0, atol=1e-30)
