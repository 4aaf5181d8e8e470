"""Exact Gaussian moments against direct simulation, integration and their expansions."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi

from bnlens.errors import UsageError
from bnlens.theory import mean_inverse_std, mean_inverse_variance, mean_std


@pytest.mark.parametrize("size", [4, 5, 8, 64])
@pytest.mark.parametrize(("function", "power"), [(mean_std, 1), (mean_inverse_std, -1), (mean_inverse_variance, -2)])
def test_agrees_with_the_integral_over_the_chi_density(function, power, size):
    density = chi(size - 1)
    expected, _ = quad(lambda r: (r / np.sqrt(size)) ** power * density.pdf(r), 0, np.inf)
    assert function(size) == pytest.approx(expected, rel=1e-7)


def test_agrees_with_drawn_batches():
    std = np.random.default_rng(0).standard_normal((200_000, 8)).std(axis=1)
    for values, expected in [(std, mean_std(8)), (1 / std, mean_inverse_std(8)), (std**-2, mean_inverse_variance(8))]:
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values))


def test_expansion_and_values_of_the_sheet():
    sizes = np.array([1e3, 1e4])
    np.testing.assert_allclose(sizes * (1 - mean_std(sizes)), 0.75, atol=2 / sizes.min())
    np.testing.assert_allclose(sizes * (mean_inverse_std(sizes) - 1), 1.25, atol=4 / sizes.min())
    np.testing.assert_allclose(mean_std([8, 32, 128]), [0.90270, 0.97635, 0.99413], atol=5e-6)
    assert mean_std(np.ones((2, 3)) * 8).shape == (2, 3)
    assert isinstance(mean_std(8), float)


@pytest.mark.parametrize(("function", "size"), [(mean_std, 1), (mean_inverse_std, 2), (mean_inverse_variance, [8, 3])])
def test_too_small_batches_are_refused(function, size):
    with pytest.raises(UsageError, match="batch_size"):
        function(size)
