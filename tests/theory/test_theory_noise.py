"""The law of the batch statistics against drawn batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import UsageError
from bnlens.theory import DISTRIBUTIONS, BatchNoise, mean_inverse_std, mean_std, noise_scale


@given(size=st.integers(2, 200), extra=st.integers(0, 1000))
def test_finite_population_scale_is_the_variance_of_the_mean(size, extra):
    population = size + extra
    scale = noise_scale(size, population)
    assert 0 <= scale <= 1 / size
    assert noise_scale(size, population, replacement=True) == noise_scale(size) == 1 / size
    # Two complementary halves of a population have opposite sums, so equal halves have equal noise.
    if extra and size < population - 1:
        rest = population - size
        assert scale * size**2 == pytest.approx(noise_scale(rest, population) * rest**2)


def test_scale_without_replacement_against_shuffles():
    generator = np.random.default_rng(0)
    values = generator.standard_normal(40)
    values = (values - values.mean()) / values.std()
    means = generator.permuted(np.tile(values, (20_000, 1)), axis=1)[:, :16].mean(axis=1)
    assert means.var() == pytest.approx(noise_scale(16, 40), rel=0.04)


# Var S with heavy tails is the slow one: 0.97 (Laplace) and 0.95 (exponential) of K/(4M) at M = 128 (theory sheet A.1).
@pytest.mark.parametrize(("name", "tolerance"), [("gaussian", 0.03), ("laplace", 0.06), ("exponential", 0.09)])
@pytest.mark.parametrize("bessel", [False, True])
def test_law_against_drawn_batches(name, tolerance, bessel):
    size, distribution = 128, DISTRIBUTIONS[name]
    x = distribution.sample(np.random.default_rng(1), (30_000, size))
    mean, std = x.mean(axis=1), x.std(axis=1, ddof=int(bessel))
    noise = BatchNoise(size, distribution.skewness, distribution.excess_kurtosis, bessel=bessel)
    assert mean.var() == pytest.approx(noise.var_mean, rel=0.03)
    assert std.var() == pytest.approx(noise.var_std, rel=tolerance)
    # Monte-Carlo error of the covariance is 1/(M sqrt(2 n)), of the means 1/sqrt(M n), times factors of order one.
    assert size * np.cov(mean, std)[0, 1] == pytest.approx(noise.cov_mean_std * size, abs=0.03 + tolerance)
    shift = size * (noise.mean_std - 1)
    assert size * (std.mean() - 1) == pytest.approx(shift, rel=2 * tolerance, abs=0.1)
    inverse_shift = size * (noise.mean_inverse_std - 1)
    assert size * ((1 / std).mean() - 1) == pytest.approx(inverse_shift, rel=3 * tolerance, abs=0.1)


def test_gaussian_limit_matches_the_exact_moments():
    noise = BatchNoise(np.array([1e3, 1e4]))
    np.testing.assert_allclose(noise.mean_std, mean_std([1e3, 1e4]), atol=1e-6)
    np.testing.assert_allclose(noise.mean_inverse_std, mean_inverse_std([1e3, 1e4]), atol=3e-6)


@pytest.mark.parametrize("bessel", [False, True])
def test_membership_conditionals(bessel):
    size, value = 20, 2.5
    x = np.random.default_rng(2).standard_normal((100_000, size))
    x[:, 0] = value
    noise = BatchNoise(size, bessel=bessel)
    assert x.mean(axis=1).mean() == pytest.approx(noise.mean_given_member(value), abs=4 / np.sqrt(size * 1e5))
    # Biased: exact value ((M-1)^2 + (M-1) x^2)/M^2, the law drops (1 - x^2)/M^2.
    tolerance = (value**2 + 1) / size**2 + 4 * np.sqrt(2 / size / 1e5)
    assert x.var(axis=1, ddof=int(bessel)).mean() == pytest.approx(noise.variance_given_member(value), abs=tolerance)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 65, "population": 64}, "exceeds the population"),
        ({"batch_size": 8, "skewness": 2.0, "excess_kurtosis": 0.0}, "impossible"),
    ],
)
def test_impossible_noise_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        BatchNoise(**arguments)
