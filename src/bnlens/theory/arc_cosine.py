"""Moments of two correlated Gaussians behind rectifiers: the arc-cosine kernels.

u and z are standard Gaussians with correlation R = cos(theta), u+ = max(u, 0). The functions take R in [-1, 1], a number or an
array, and raise `UsageError` for any other. Source: theory sheet B.1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray, unwrap

__all__ = ["gated_square", "rectified_product"]


@checked
def rectified_product(correlation: ArrayLike) -> float | FloatArray:
    """Return the mean product of two rectified standard Gaussians, the arc-cosine kernel of degree one.

    K1 = E[u+ z+] = [sin(theta) + (pi - theta) cos(theta)] / (2 pi),   theta = arccos R    (theory sheet B.1, exact)

    >>> rectified_product(1.0), round(rectified_product(0.0), 6)
    (0.5, 0.159155)
    """
    R = _checked(correlation)
    theta = np.arccos(R)
    return unwrap(np.maximum(np.sin(theta) + (np.pi - theta) * R, 0) / (2 * np.pi))  # rounding at R = -1


@checked
def gated_square(correlation: ArrayLike) -> float | FloatArray:
    """Return the mean square of a rectified standard Gaussian where another is positive.

    K2 = E[u+^2 1(z > 0)] = [pi - theta + sin(theta) cos(theta)] / (2 pi),   theta = arccos R    (theory sheet B.1, exact)

    >>> gated_square(1.0), gated_square(0.0)
    (0.5, 0.25)
    """
    R = _checked(correlation)
    theta = np.arccos(R)
    return unwrap((np.pi - theta + np.sin(theta) * R) / (2 * np.pi))


def _checked(correlation: ArrayLike) -> FloatArray:
    R = np.asarray(correlation, dtype=np.float64)
    if not np.all(np.abs(R) <= 1):
        raise UsageError(f"correlation={correlation!r} is outside [-1, 1].")
    return R
