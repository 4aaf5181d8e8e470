"""What the repetitions of a measurement come to."""

from __future__ import annotations

import resource
import statistics
import sys

__all__ = ["peak_mib", "ratios", "spread"]


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(values: list[float], plain: list[float]) -> list[float]:
    """Value over plain, repetition by repetition."""
    return [value / base for value, base in zip(values, plain, strict=True)]


def peak_mib() -> float:
    """Largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
