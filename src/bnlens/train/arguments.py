"""Checks of the arguments of `fit`."""

from __future__ import annotations

import math
from typing import Any

from bnlens.errors import UsageError

__all__ = ["check_processes", "check_sharing", "micro_batch"]


def micro_batch(statistics_batch_size: float, device_batch_size: int | None, batch_size: int) -> int:
    """Return the number of images per forward pass."""
    if device_batch_size is None and statistics_batch_size == math.inf:
        raise UsageError("statistics_batch_size is inf; give device_batch_size, the images per forward pass")
    micro = int(statistics_batch_size) if device_batch_size is None else device_batch_size
    name = "statistics_batch_size" if device_batch_size is None else "device_batch_size"
    if batch_size % micro:
        raise UsageError(f"batch_size must be a multiple of {name}, {micro}, got {batch_size}")
    return micro


def check_processes(processes: int, together: int, batch_size: int) -> None:
    """Check that a batch is whole forward passes of all processes, or whole sets that share statistics in each."""
    if batch_size % (together * processes):
        raise UsageError(
            f"batch_size must be a multiple of {together * processes}, {together} images on each of {processes} "
            f"processes, got {batch_size}"
        )


def check_sharing(statistics_batch_size: float, device_batch_size: int | None, regulariser: Any) -> None:
    """Check that whole forward passes share statistics, and that no regulariser runs the model."""
    if device_batch_size is None or statistics_batch_size == math.inf or statistics_batch_size % device_batch_size:
        raise UsageError(
            f"share_statistics needs a device_batch_size that divides statistics_batch_size, {statistics_batch_size}, got "
            f"{device_batch_size}"
        )
    if regulariser is not None:
        raise UsageError("explicit regularisers watch the statistics of windows; leave share_statistics to use them")
