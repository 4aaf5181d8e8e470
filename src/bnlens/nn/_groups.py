"""Runs of ghost groups of one size, which one operation can take at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

__all__ = ["equal_groups"]


def equal_groups(sizes: list[int]) -> Iterator[tuple[slice, slice, int]]:
    """Yield, for each run of groups of one size, its place among the groups, its place among the samples, and the size.

    >>> for groups, samples, size in equal_groups([34, 33, 33]):
    ...     print(groups.start, groups.stop, samples.start, samples.stop, size)
    0 1 0 34 34
    1 3 34 100 33
    """
    group = sample = 0
    for size, run in groupby(sizes):
        k = len(list(run))
        yield slice(group, group + k), slice(sample, sample + k * size), size
        group, sample = group + k, sample + k * size
