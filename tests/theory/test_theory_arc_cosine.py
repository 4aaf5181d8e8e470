"""The arc-cosine kernels against direct integration over the correlated Gaussian."""

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal

from bnlens.errors import UsageError
from bnlens.theory import gated_square, rectified_product


@pytest.mark.parametrize("R", [-0.7, 0.0, 0.3, 0.9])
@pytest.mark.parametrize(
    ("function", "integrand"), [(rectified_product, lambda u, z: u * z), (gated_square, lambda u, z: u * u)]
)
def test_agrees_with_the_integral(function, integrand, R):
    density = multivariate_normal(cov=[[1, R], [R, 1]])
    expected, _ = dblquad(lambda u, z: integrand(u, z) * density.pdf([u, z]), 0, 8, 0, 8, epsabs=1e-7)
    assert function(R) == pytest.approx(expected, abs=1e-6)


def test_limits_and_shapes():
    np.testing.assert_allclose(rectified_product([1, -1]), [0.5, 0], atol=1e-15)
    np.testing.assert_allclose(gated_square([1, 0, -1]), [0.5, 0.25, 0], atol=1e-15)
    assert isinstance(gated_square(0.3), float)
    with pytest.raises(UsageError, match=r"correlation=1\.1"):
        rectified_product(1.1)
