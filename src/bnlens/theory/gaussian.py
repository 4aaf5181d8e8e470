"""Exact moments of the batch standard deviation of Gaussian samples.

For M independent N(0, 1) samples, M S^2 with the biased variance S^2 = (1/M) sum (x_i - m)^2 is chi-square with
M - 1 degrees of freedom, so every power of S has a closed form in gamma functions (theory sheet A.1). Multiply
`mean_std` by sqrt(M / (M - 1)), and divide `mean_inverse_std` by it, for the Bessel-corrected S.

Each function takes M, a number or an array, and returns a float for a scalar, else float64 of the same shape, in units of the
population standard deviation. It raises `UsageError` if some M is so small that the expectation is not defined.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from bnlens._arguments import checked
from bnlens.theory._check import BatchSizes, FloatArray, check_batch_size, unwrap

__all__ = ["mean_inverse_std", "mean_inverse_variance", "mean_std"]


@checked
def mean_std(batch_size: BatchSizes) -> float | FloatArray:
    """Return the expected biased batch standard deviation of a standard Gaussian, the constant c_M, for M >= 2.

    c_M = E S = sqrt(2/M) Gamma(M/2) / Gamma((M-1)/2) = 1 - 3/(4M) + O(M^-2)    (theory sheet A.1, exact)

    >>> round(mean_std(8), 5), round(mean_std(128), 5)
    (0.9027, 0.99413)
    """
    size = check_batch_size(batch_size)
    return unwrap(np.sqrt(2 / size) * np.exp(gammaln(size / 2) - gammaln((size - 1) / 2)))


@checked
def mean_inverse_std(batch_size: BatchSizes) -> float | FloatArray:
    """Return the expected inverse of the biased batch standard deviation, the constant b_M, for M >= 3.

    b_M = E 1/S = sqrt(M/2) Gamma((M-2)/2) / Gamma((M-1)/2) = 1 + 5/(4M) + O(M^-2)    (theory sheet A.1, exact)

    >>> round(mean_inverse_std(8), 4)
    1.2036
    """
    size = check_batch_size(batch_size, minimum=3)
    return unwrap(np.sqrt(size / 2) * np.exp(gammaln((size - 2) / 2) - gammaln((size - 1) / 2)))


@checked
def mean_inverse_variance(batch_size: BatchSizes) -> float | FloatArray:
    """Return the expected inverse of the biased batch variance of a standard Gaussian, for M >= 4.

    E S^-2 = M / (M - 3)    (theory sheet A.1, exact)

    >>> mean_inverse_variance(8)
    1.6
    """
    size = check_batch_size(batch_size, minimum=4)
    return unwrap(size / (size - 3))
