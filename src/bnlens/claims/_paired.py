"""Runs of the same seeds side by side: means, paired differences, and shares of a distance, with standard errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnlens.claims._training import run_name

__all__ = ["Estimate", "Runs", "check_full_scale", "estimate", "share_of_distance"]

_NAME = re.compile(r"M(\w+)-device(\d+)(?:-([a-z-]+))?-seed(\d+)")


class Estimate(NamedTuple):
    """A mean over seeds and its standard error."""

    value: float
    stderr: float

    @property
    def in_errors(self) -> float:
        """The value in units of its standard error; 0 where both are 0."""
        if self.stderr:
            return self.value / self.stderr
        return float(np.copysign(np.inf, self.value)) if self.value else 0.0

    def columns(self, name: str) -> dict[str, float]:
        """The estimate as two columns of a table."""
        return {name: self.value, f"{name} stderr": self.stderr}


class Runs:
    """Results of `train_once` by how they normalised.

    Args:
        results: by job name, as `run_name` gives them.
    """

    def __init__(self, results: Mapping[str, dict[str, Any]]) -> None:
        self._results = results
        self.data: str = next(iter(results.values()))["data"]

    def seeds(self, M: float | str, device: int, way: str | None = None) -> list[int]:
        """Seeds of the runs of one kind, in order."""
        found = (_NAME.fullmatch(name) for name in self._results)
        key = (str(M), str(device), way)
        return sorted(int(name[4]) for name in found if name and (name[1], name[2], name[3]) == key)

    def values(self, what: str, M: float | str, device: int, way: str | None = None) -> NDArray[np.float64]:
        """A result of the runs of one kind, (seeds,), or (seeds, layers) for ``"gamma"``."""
        names = [run_name(M, device, seed, way) for seed in self.seeds(M, device, way)]
        return np.array([self._results[name][what] for name in names], dtype=np.float64)


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Mean over seeds with its standard error."""
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def share_of_distance(part: NDArray[np.float64], whole: NDArray[np.float64]) -> Estimate:
    """Mean of ``part`` over mean of ``whole``, differences paired by seed; the standard error is the jackknife's.

    >>> share_of_distance(np.array([1.0, 1.0]), np.array([4.0, 4.0]))
    Estimate(value=0.25, stderr=0.0)
    """
    count = len(part)
    left_out = (part.sum() - part) / (whole.sum() - whole)
    spread = (count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()
    return Estimate(float(part.mean() / whole.mean()), float(np.sqrt(spread)))


def check_full_scale(claim: str, scale: str, data: Any) -> None:
    """Raise where the scale is full and there are no data; read the data once, so that bad ones end a run before it begins.

    Raises:
        UsageError: see above.
        DataError: the data cannot be read.
    """
    from bnlens.errors import UsageError
    from bnlens.train import load_data

    if data is not None:
        for split in ("train", "test"):
            load_data(data, split=split, samples=10)
    elif scale == "full":
        raise UsageError(
            f"{claim} at scale full trains on CIFAR-10; give its folder with --data DIR, or use --scale quick"
        )
