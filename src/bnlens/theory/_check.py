"""Argument checks and small functions that the theory room shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlens._arguments import Range
from bnlens.errors import UsageError

FloatArray = NDArray[np.float64]
BatchSizes: TypeAlias = Annotated[ArrayLike, Range(2, infinite=True)]
Correlation: TypeAlias = Annotated[float, Range(-1, 1)]


def check_batch_size(batch_size: ArrayLike, minimum: int = 2) -> FloatArray:
    """Return the statistics batch sizes as float64, any shape; raise `UsageError` below `minimum`."""
    sizes = np.asarray(batch_size, dtype=np.float64)
    if not np.all(sizes >= minimum):
        raise UsageError(
            f"batch_size={batch_size!r} is too small: batch statistics of this kind need at least {minimum} samples."
        )
    return sizes


def check_choice(what: str, given: str, known: Iterable[str]) -> str:
    """Return a name that is one of those known, else raise `UsageError`."""
    names = list(known)
    if given not in names:
        raise UsageError(f"Unknown {what} {given!r}: choose one of {', '.join(names)}.")
    return given


def normal_density(x: FloatArray) -> FloatArray:
    """Return the density of a standard Gaussian."""
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))


def unwrap(value: FloatArray) -> float | FloatArray:
    """Return a Python float for a 0-d array, so that scalar arguments give scalar results."""
    return float(value) if np.ndim(value) == 0 else value
