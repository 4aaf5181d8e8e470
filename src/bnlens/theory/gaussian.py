"""Exact moments of the batch standard deviation of Gaussian samples.

For M independent N(0, 1) samples, M S^2 with the biased variance S^2 = (1/M) sum (x_i - m)^2 is chi-square with
M - 1 degrees of freedom, so every power of S has a closed form in gamma functions (theory sheet A.1). Multiply
`mean_std` by sqrt(M / (M - 1)), and divide `mean_inverse_std` by it, for the Bessel-corrected S.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from bnlens.theory._check import FloatArray, check_batch_size, unwrap

__all__ = ["mean_inverse_std", "mean_inverse_variance", "mean_std"]


def mean_std(batch_size: ArrayLike) -> float | FloatArray:
    """Return the expected biased batch standard deviation of a standard Gaussian, the constant c_M.

    c_M = E S = sqrt(2/M) Gamma(M/2) / Gamma((M-1)/2) = 1 - 3/(4M) + O(M^-2)    (theory sheet A.1, exact)

    Args:
        batch_size: M >= 2, a number or an array.

    Returns:
        c_M, in units of the population standard deviation; a float for a scalar, else float64 of the same shape.

    Raises:
        UsageError: if some M is below 2.

    >>> round(mean_std(8), 5), round(mean_std(128), 5)
    (0.9027, 0.99413)
    """
    size = check_batch_size(batch_size)
    return unwrap(np.sqrt(2 / size) * np.exp(gammaln(size / 2) - gammaln((size - 1) / 2)))


def mean_inverse_std(batch_size: ArrayLike) -> float | FloatArray:
    """Return the expected inverse of the biased batch standard deviation of a standard Gaussian, the constant b_M.

    b_M = E 1/S = sqrt(M/2) Gamma((M-2)/2) / Gamma((M-1)/2) = 1 + 5/(4M) + O(M^-2)    (theory sheet A.1, exact)

    Args:
        batch_size: M >= 3, a number or an array; the expectation is infinite at M = 2.

    Returns:
        b_M; a float for a scalar, else float64 of the same shape.

    Raises:
        UsageError: if some M is below 3.

    >>> round(mean_inverse_std(8), 4)
    1.2036
    """
    size = check_batch_size(batch_size, minimum=3)
    return unwrap(np.sqrt(size / 2) * np.exp(gammaln((size - 2) / 2) - gammaln((size - 1) / 2)))


def mean_inverse_variance(batch_size: ArrayLike) -> float | FloatArray:
    """Return the expected inverse of the biased batch variance of a standard Gaussian.

    E S^-2 = M / (M - 3)    (theory sheet A.1, exact)

    Args:
        batch_size: M >= 4, a number or an array; the expectation is infinite below.

    Returns:
        E S^-2; a float for a scalar, else float64 of the same shape.

    Raises:
        UsageError: if some M is below 4.

    >>> mean_inverse_variance(8)
    1.6
    """
    size = check_batch_size(batch_size, minimum=4)
    return unwrap(size / (size - 3))
