"""Quadrature against closed-form moments, samplers against densities."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from bnlens.errors import UsageError
from bnlens.theory import DISTRIBUTIONS, Population, get_distribution

MOMENTS = {
    "gaussian": lambda k: 0.0 if k % 2 else float(math.prod(range(1, k, 2))),
    "laplace": lambda k: 0.0 if k % 2 else math.factorial(k) / 2 ** (k / 2),
    # Central moments of the unit exponential are the subfactorials.
    "exponential": lambda k: float(sum((-1) ** j * math.factorial(k) // math.factorial(j) for j in range(k + 1))),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_moments_by_quadrature_and_as_stated(name):
    distribution = DISTRIBUTIONS[name]
    for power in range(9):
        value = distribution.expectation(lambda x, power=power: x**power)
        assert value == pytest.approx(MOMENTS[name](power), rel=1e-11, abs=1e-11)
    assert distribution.skewness == MOMENTS[name](3)
    assert distribution.excess_kurtosis == pytest.approx(MOMENTS[name](4) - 3)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_breaks_make_a_step_exact(name):
    distribution = DISTRIBUTIONS[name]
    step = 0.3210987
    below = distribution.expectation(lambda x: (x < step).astype(float), breaks=[step])
    above = distribution.expectation(lambda x: (x > step).astype(float), breaks=[step])
    assert below + above == pytest.approx(1, abs=1e-13)
    exact = {"exponential": 1 - math.exp(-step - 1), "laplace": 1 - math.exp(-math.sqrt(2) * step) / 2}
    assert below == pytest.approx(exact.get(name, 0.5 + math.erf(step / math.sqrt(2)) / 2), abs=1e-13)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_samples_follow_the_density(name):
    distribution = DISTRIBUTIONS[name]
    grid = np.linspace(distribution.lower, distribution.upper, 200_001)
    mass = np.concatenate([[0], np.cumsum((distribution.density(grid[1:]) + distribution.density(grid[:-1])) / 2)])
    sample = distribution.sample(np.random.default_rng(0), (40, 50)).ravel()
    assert kstest(sample, lambda x: np.interp(x, grid, mass * (grid[1] - grid[0]))).pvalue > 1e-3


def test_density_vanishes_outside_the_support():
    assert get_distribution("exponential").density_at(-1.5) == 0.0
    assert get_distribution("exponential").density_at(0.0) == pytest.approx(math.exp(-1))


def test_population_is_standardised():
    population = Population(np.random.default_rng(0).gamma(2.0, size=300) * 5 + 3)
    nodes, weights = population.quadrature()
    assert weights @ nodes == pytest.approx(0, abs=1e-12)
    assert weights @ nodes**2 == pytest.approx(1)
    assert weights @ nodes**3 == pytest.approx(population.skewness)
    assert len(population) == 300


@pytest.mark.parametrize(
    "values", [[1.0, 1.0, 1.0], [[1.0, 2.0], [3.0, 4.0]], [1.0, float("nan")], ["a", "b"], [1.0], []]
)
def test_bad_populations_are_refused(values):
    with pytest.raises(UsageError, match="values"):
        Population(values)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"cauchy.*gaussian, laplace, exponential"):
        get_distribution("cauchy")
