"""Results of `train_network` by what was trained, and estimates from them, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims._network_plans import POPULATION
from bnlens.claims._paired import Estimate, estimate

__all__ = ["LOSSES", "NetworkRuns", "against", "loss_columns"]

LOSSES = (("train loss", "train_loss"), ("test loss", "test_loss"), ("test accuracy", "test_accuracy"))
_PLAIN: Mapping[str, Any] = {"regulariser": None, "noise": None, "dropout": 0.0}


class NetworkRuns:
    """Results of training runs.

    Args:
        results: by job name; those of other jobs are left out.

    Attributes:
        data: what they were trained on.
    """

    def __init__(self, results: Mapping[str, dict[str, Any]]) -> None:
        self._results = [result for result in results.values() if "config" in result]
        self.data: str = self._results[0]["data"]
        self.images: int = max(result["images"] for result in self._results)

    def distinct(self, name: str, **conditions: Any) -> list[Any]:
        """Values that an entry of the configuration takes, ascending, infinity last; with any further conditions."""
        found = {result["config"][name] for result in self._results if _fits(result["config"], conditions)}
        return sorted(found, key=lambda value: (value == POPULATION, value is not None, str(type(value)), value))

    def select(self, **conditions: Any) -> list[dict[str, Any]]:
        """Results in the order of their seeds; without penalty, partial noise and dropout unless asked for.

        ``M`` stands for ``statistics_batch_size``.
        """
        if "M" in conditions:
            conditions["statistics_batch_size"] = conditions.pop("M")
        wanted = {**_PLAIN, **conditions}
        found = [result for result in self._results if _fits(result["config"], wanted)]
        found.sort(key=lambda result: result["config"]["seed"])
        seeds = [result["config"]["seed"] for result in found]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"several runs of one seed fit {conditions}; name what tells them apart")
        return found

    def values(self, what: str, **conditions: Any) -> NDArray[np.float64]:
        """An entry of the results, (seeds, ...)."""
        return np.array([result[what] for result in self.select(**conditions)], dtype=np.float64)

    def curves(self, what: str, **conditions: Any) -> NDArray[np.float64]:
        """An entry of the results' curves, (seeds, epochs, ...)."""
        found = [[epoch[what] for epoch in result["curve"]] for result in self.select(**conditions)]
        return np.array(found, dtype=np.float64)

    def neurons(self, what: str, **conditions: Any) -> NDArray[np.float64]:
        """A measure of single neurons, mean over the layers, (seeds,)."""
        found = [
            np.mean([layer[what] for layer in result["neurons"]["layers"]]) for result in self.select(**conditions)
        ]
        return np.array(found, dtype=np.float64)

    def seeds(self, **conditions: Any) -> int:
        """Number of runs."""
        return len(self.select(**conditions))


def loss_columns(runs: NetworkRuns, **conditions: Any) -> dict[str, float]:
    """Columns of train loss, test loss, test accuracy and generalization gap (test less train loss), with errors."""
    columns: dict[str, float] = {}
    for name, what in LOSSES:
        columns |= estimate(runs.values(what, **conditions)).columns(name)
    gap = runs.values("test_loss", **conditions) - runs.values("train_loss", **conditions)
    return columns | estimate(gap).columns("test less train loss") | {"seeds": runs.seeds(**conditions)}


def against(runs: NetworkRuns, what: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Estimate:
    """Mean of an entry under ``one`` less that under ``other``, paired by seed."""
    return estimate(runs.values(what, **one) - runs.values(what, **other))


def _fits(config: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    return all(config[name] == value for name, value in conditions.items())
