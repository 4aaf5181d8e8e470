"""Checks of the arguments of `fit`."""

from __future__ import annotations

import math
from typing import Any, get_args

from bnlens.errors import UsageError

__all__ = ["check_names", "check_numbers", "check_processes", "check_sharing", "micro_batch"]


def micro_batch(statistics_batch_size: float, device_batch_size: int | None, batch_size: int) -> int:
    """Return the number of images per forward pass."""
    if not (statistics_batch_size >= 2 and statistics_batch_size in (math.inf, statistics_batch_size // 1)):
        raise UsageError(f"statistics_batch_size must be an int of at least 2, or inf, got {statistics_batch_size}")
    if device_batch_size is None and statistics_batch_size == math.inf:
        raise UsageError("statistics_batch_size is inf; give device_batch_size, the images per forward pass")
    micro = int(statistics_batch_size) if device_batch_size is None else device_batch_size
    name = "statistics_batch_size" if device_batch_size is None else "device_batch_size"
    if micro < 1 or batch_size < 1 or batch_size % micro:
        raise UsageError(f"batch_size must be a multiple of {name}, {micro}, got {batch_size}")
    return micro


def check_names(**names: tuple[str, Any]) -> None:
    """Check that each value is one of the strings of its ``Literal``."""
    for name, (value, known) in names.items():
        if value not in get_args(known):
            raise UsageError(f"{name} must be one of {', '.join(map(repr, get_args(known)))}, got {value!r}")


def check_numbers(
    epochs: int, steps: int | None, checkpoint_every: int | None, momentum: float, **not_negative: float
) -> None:
    """Check that numbers are in their ranges."""
    if (epochs if steps is None else steps) < 1:
        raise UsageError(f"epochs and steps must be at least 1, got {epochs} and {steps}")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise UsageError(f"checkpoint_every must be at least 1, got {checkpoint_every}")
    if not 0 <= momentum < 1:
        raise UsageError(f"momentum must be at least 0 and below 1, got {momentum}")
    for name, value in not_negative.items():
        if not (value >= 0 and math.isfinite(value)):
            raise UsageError(f"{name} must be finite and not negative, got {value}")


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
