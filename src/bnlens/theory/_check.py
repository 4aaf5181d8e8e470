"""Argument checks shared by the theory room."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlens.errors import UsageError

FloatArray = NDArray[np.float64]


def check_batch_size(batch_size: ArrayLike, minimum: int = 2) -> FloatArray:
    """Return the statistics batch sizes as float64, any shape; raise `UsageError` below `minimum`."""
    sizes = np.asarray(batch_size, dtype=np.float64)
    if not np.all(sizes >= minimum):
        raise UsageError(
            f"batch_size={batch_size!r} is too small: batch statistics of this kind need at least {minimum} samples."
        )
    return sizes


def unwrap(value: FloatArray) -> float | FloatArray:
    """Return a Python float for a 0-d array, so that scalar arguments give scalar results."""
    return float(value) if np.ndim(value) == 0 else value
