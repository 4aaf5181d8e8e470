"""The simulated minimiser over gamma against exact values and the slope of the expansion."""

import pytest

from bnlens.errors import UsageError
from bnlens.simulate import simulate_gamma
from bnlens.theory import gamma_shrink, linear, linear_gamma, mean_inverse_std, mean_std, poisson, relu, softplus_glm

EXACT = [("own", size, linear_gamma(0.8, mean_std(size))) for size in (3, 8, 32)]
EXACT += [("fresh", 32, 0.8 * mean_inverse_std(32) * (32 - 3) / (32 + 1))]


@pytest.mark.parametrize(("statistics", "size", "exact"), EXACT)
def test_linear_unit_is_exact(statistics, size, exact):
    samples = {"own": 200_000, "fresh": 400_000}[statistics]
    estimate = simulate_gamma("linear", "gaussian", batch_size=size, statistics=statistics, samples=samples)
    assert abs(estimate.gamma - exact) < 4 * estimate.stderr
    assert estimate.stderr < 0.002
    assert estimate.optimum == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("unit", "beta"), [(relu(1.0), 0.0), (softplus_glm(), 0.0), (poisson(), 0.5)], ids=lambda v: getattr(v, "name", "")
)
def test_shrink_follows_the_own_batch_slope_and_not_the_decay(unit, beta):
    estimate = simulate_gamma(unit, "gaussian", beta=beta, batch_size=128, samples=1_000_000, seed=1)
    law = gamma_shrink(unit, "gaussian", beta=beta)
    assert estimate.shrink == pytest.approx(law.own, abs=0.05 * law.own + 3 * estimate.shrink_stderr)
    assert estimate.shrink < 0.6 * law.decay


def test_standard_error_covers_the_scatter_over_seeds():
    estimates = [simulate_gamma("logistic", "gaussian", batch_size=16, samples=16_000, seed=s) for s in range(40)]
    mean = sum(e.gamma for e in estimates) / len(estimates)
    scatter = (sum((e.gamma - mean) ** 2 for e in estimates) / (len(estimates) - 1)) ** 0.5
    assert 0.65 < scatter / estimates[0].stderr < 1.4  # known to 11% from 40 runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 1}, "batch_size is 1"),
        ({"samples": 0}, "samples is 0"),
        ({"statistics": "paper"}, "paper"),
        ({"unit": linear(-0.5)}, "no optimum"),
        ({"distribution": "cauchy"}, "cauchy"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    usual = {"unit": "linear", "distribution": "gaussian", "batch_size": 8, "samples": 1_000}
    with pytest.raises(UsageError, match=message):
        simulate_gamma(**{**usual, **arguments})
