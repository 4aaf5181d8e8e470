"""The simulated gap against the expansion, exact identities and plain averages."""

import sys

import numpy as np
import pytest

from bnlens.errors import UsageError
from bnlens.simulate import simulate_gap
from bnlens.theory import BatchNoise, Population, gap_law, get_unit, linear_gap, mean_inverse_std, mean_std
from theory_points import POINTS


@pytest.mark.parametrize(("name", "tolerance"), [("gaussian", 0.05), ("laplace", 0.05), ("exponential", 0.10)])
@pytest.mark.parametrize("unit", POINTS)
def test_own_batch_law_at_64(unit, name, tolerance):
    gamma, beta = POINTS[unit]
    estimate = simulate_gap(unit, name, gamma=gamma, beta=beta, batch_size=64, samples=600_000, seed=1)
    assert estimate.stderr < 0.01 * estimate.gap
    assert gap_law(unit, name, gamma=gamma, beta=beta).gap(64) == pytest.approx(estimate.gap, rel=tolerance)


# Fresh: E of (gamma^2/2) (x - m)^2/S^2 - gamma R x (x - m)/S with x outside the batch, x independent of m and S.
FRESH = 0.7**2 / 2 * ((1 + 1 / 16) * 16 / (16 - 3) - 1) - 0.7 * 0.8 * (mean_inverse_std(16) - 1)
# Bessel: with S corrected by sqrt(M/(M-1)), gamma x_hat is that of the biased S at gamma sqrt((M-1)/M).
SHRUNK = 0.7 * np.sqrt(7 / 8)
BESSEL = SHRUNK**2 / 2 - SHRUNK * 0.8 * mean_std(8) - (0.7**2 / 2 - 0.7 * 0.8)
EXACT = [
    *((size, linear_gap(0.7, 0.8, mean_std(size)), 0.01, {"beta": 0.2, "seed": 2}) for size in (3, 8, 32)),
    (16, FRESH, 0.02, {"statistics": "fresh", "samples": 1_000_000}),
    (8, BESSEL, 0.02, {"bessel": True}),
]


@pytest.mark.parametrize(("size", "exact", "tolerance", "how"), EXACT)
def test_exact_gaps_of_a_linear_unit(size, exact, tolerance, how):
    estimate = simulate_gap("linear", "gaussian", gamma=0.7, batch_size=size, **{"samples": 400_000, **how})
    assert abs(estimate.gap - exact) < 4 * estimate.stderr
    assert estimate.stderr < tolerance * exact


@pytest.mark.parametrize("name", ["laplace", "exponential"])
def test_exact_linear_identity_without_gaussian(name):
    estimate = simulate_gap("linear", name, gamma=0.7, batch_size=3, samples=400_000, seed=3)
    draw = {"laplace": lambda g, n: g.laplace(size=n) / np.sqrt(2), "exponential": lambda g, n: g.exponential(size=n)}
    std = draw[name](np.random.default_rng(4), (300_000, 3)).std(axis=1)
    error = 0.7 * 0.8 * std.std() / np.sqrt(len(std))
    exact = linear_gap(0.7, 0.8, std.mean())
    assert abs(estimate.gap - exact) < 4 * np.hypot(error, estimate.stderr)


@pytest.mark.parametrize("unit", ["linear", "relu", "softplus_glm"])
def test_fresh_batch_gap_approaches_its_law(unit):
    # The corrections are of relative order 1/M, so that going from 64 to 256 the error falls about fourfold.
    gamma, beta = POINTS[unit]
    law = gap_law(unit, "gaussian", gamma=gamma, beta=beta).coefficient("fresh")
    kwargs = {"gamma": gamma, "beta": beta, "statistics": "fresh", "samples": 2_000_000}
    near, far = (simulate_gap(unit, "gaussian", batch_size=size, **kwargs) for size in (256, 64))
    assert law == pytest.approx(near.coefficient, abs=0.06 * law + 3 * near.coefficient_stderr)
    assert abs(near.coefficient - law) < abs(far.coefficient - law) / 2 + 3 * near.coefficient_stderr


@pytest.mark.parametrize("unit", ["linear", "logistic", "poisson"])
def test_paper_noise(unit):
    gamma, beta = POINTS[unit]
    at = {"gamma": gamma, "beta": beta}
    law = gap_law(unit, "gaussian", **at).coefficient("paper")
    estimate = simulate_gap(unit, "gaussian", **at, batch_size=512, statistics="paper", samples=2_000_000)
    assert law == pytest.approx(estimate.coefficient, abs=3 * estimate.coefficient_stderr + 0.015 * law)


@pytest.mark.parametrize("statistics", ["own", "fresh"])
@pytest.mark.parametrize("noise", ["mean", "std"])
def test_shares_of_the_two_statistics(noise, statistics):
    gamma, beta = POINTS["softplus_glm"]
    kwargs = {"gamma": gamma, "beta": beta, "batch_size": 512, "samples": 3_000_000}
    estimate = simulate_gap("softplus_glm", "exponential", statistics=statistics, noise=noise, **kwargs)
    law = gap_law("softplus_glm", "exponential", gamma=gamma, beta=beta)
    expected = getattr(law.shares(statistics), noise)
    assert estimate.coefficient == pytest.approx(expected, abs=4 * estimate.coefficient_stderr + 0.06 * abs(expected))
    assert estimate.coefficient_stderr < 0.06 * abs(expected)


def test_linear_mean_share_is_exact():
    # y = gamma (x - m) + beta, own batch: E (x - m)^2 = 1 - 1/M and E x (x - m) = 1 - 1/M.
    estimate = simulate_gap("linear", "laplace", gamma=0.7, batch_size=4, noise="mean", samples=100_000)
    assert estimate.gap == pytest.approx((0.7 * 0.8 - 0.7**2 / 2) / 4, abs=4 * estimate.stderr + 1e-12)


@pytest.mark.parametrize("replacement", [False, True])
def test_finite_population(replacement):
    values, at = np.random.default_rng(5).gamma(4.0, size=128), {"gamma": 1.5, "beta": 0.3}
    law = gap_law("logistic", Population(values), **at)
    estimate = simulate_gap("logistic", values, **at, batch_size=64, replacement=replacement, samples=600_000)
    expected = law.gap(64, population=128, replacement=replacement)
    assert estimate.gap == pytest.approx(expected, rel=0.08)
    assert estimate.stderr < 0.02 * expected
    # Twice the noise with replacement: the two cases cannot be taken for one another.
    assert law.gap(64) == pytest.approx(law.gap(64, population=128) * 127 / 64)


def test_whole_population_as_batch_has_no_gap():
    values = np.random.default_rng(6).normal(size=32)
    assert abs(simulate_gap("poisson", values, gamma=1.2, batch_size=32, samples=3_200).gap) < 1e-12


def test_controls_agree_with_the_plain_mean_and_cut_its_error():
    size, batches, risk = 16, 20_000, get_unit("logistic").risk
    estimate = simulate_gap("logistic", "gaussian", gamma=1.5, beta=0.3, batch_size=size, samples=size * batches)
    x = np.random.default_rng(7).standard_normal((batches, size))
    normalised = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    plain = (risk(1.5 * normalised + 0.3, x) - risk(1.5 * x + 0.3, x)).mean(axis=1)
    error = plain.std() / np.sqrt(batches)
    assert abs(estimate.gap - plain.mean()) < 4 * np.hypot(error, estimate.stderr)
    assert estimate.stderr < error / 2


def test_standard_error_covers_the_scatter_over_seeds():
    gaps = [simulate_gap("relu", "laplace", gamma=0.7, batch_size=8, samples=8_000, seed=seed) for seed in range(60)]
    scatter = np.std([estimate.gap for estimate in gaps], ddof=1)
    stated = np.sqrt(np.mean([estimate.stderr**2 for estimate in gaps]))
    assert 0.7 < scatter / stated < 1.3  # the scatter of 60 runs is known to 9%


def test_user_given_risk_and_sampler():
    uniform = lambda generator, shape: generator.uniform(-np.sqrt(3), np.sqrt(3), shape)  # noqa: E731
    estimate = simulate_gap(lambda y, x: y**2 / 2 - 0.8 * x * y, uniform, gamma=0.7, batch_size=64, samples=400_000)
    exact = linear_gap(0.7, 0.8, BatchNoise(64, 0.0, -1.2).mean_std)
    assert estimate.gap == pytest.approx(exact, rel=0.03)


def test_seed_decides_and_results_name_what_was_run():
    run = lambda seed: simulate_gap("linear", "gaussian", gamma=0.7, batch_size=8, samples=1_001, seed=seed)  # noqa: E731
    assert run(1) == run(1)
    assert run(1).gap != run(2).gap
    assert run(np.random.default_rng(3)) == run(np.random.default_rng(3))
    estimate = run(1)
    assert (estimate.samples, estimate.batch_size, estimate.statistics, estimate.noise) == (1_008, 8, "own", "both")
    assert (estimate.coefficient, estimate.coefficient_stderr) == (8 * estimate.gap, 8 * estimate.stderr)


def test_progress_bar_goes_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    simulate_gap("linear", "gaussian", gamma=0.7, batch_size=8, samples=1_000, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "gap at M = 8" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 1}, "batch_size is 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"samples": -5}, "samples is -5"),
        ({"samples": 100}, "too few for a standard error"),
        ({"unit": "probit"}, "probit"),
        ({"distribution": "cauchy"}, "cauchy"),
        ({"distribution": [1.0, 1.0]}, "no variance"),
        ({"distribution": [1.0, 2.0, 4.0]}, "exceeds the population"),
        ({"distribution": lambda g, shape: g.exponential(size=shape)}, "standardise"),
        ({"distribution": lambda g, shape: g.normal(size=shape[0])}, "shape"),
        ({"statistics": "running"}, "running"),
        ({"noise": "median"}, "median"),
        ({"statistics": "paper", "distribution": "exponential"}, "reaches zero"),
        ({"statistics": "paper", "distribution": lambda g, shape: g.normal(size=shape)}, "needs the kurtosis"),
        ({"distribution": [0.0, 1.0] * 20, "batch_size": 2}, "no standard deviation"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    usual = {"unit": "linear", "distribution": "gaussian", "gamma": 0.7, "batch_size": 8, "samples": 1_000}
    with pytest.raises(UsageError, match=message):
        simulate_gap(**{**usual, **arguments})
