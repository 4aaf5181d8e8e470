"""Results of a claim's jobs, chosen by the configurations they were computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["JobResult", "Results", "TrainingRuns"]


class JobResult(NamedTuple):
    """A configuration and what its job returned, both JSON data."""

    config: Mapping[str, Any]
    result: Mapping[str, Any]


class Results:
    """The results of some jobs, in the order in which their claim plans them.

    Args:
        jobs: pairs of configuration and result.
    """

    def __init__(self, jobs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        self._jobs = [JobResult(*job) for job in jobs]

    def __iter__(self) -> Iterator[JobResult]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def select(self, **conditions: Any) -> list[JobResult]:
        """Return the jobs whose configuration has these entries."""
        return [job for job in self._jobs if all(self._entry(job, name) == conditions[name] for name in conditions)]

    def one(self, **conditions: Any) -> Mapping[str, Any]:
        """Return the result of the one job whose configuration has these entries.

        Raises:
            ValueError: none has, or several have.
        """
        found = self.select(**conditions)
        if len(found) != 1:
            raise ValueError(f"{len(found)} jobs have {conditions}, not one")
        return found[0].result

    def _entry(self, job: JobResult, name: str) -> Any:
        return job.config.get(name, ...)


_PLAIN: Mapping[str, Any] = {
    "regulariser": None,
    "noise": None,
    "dropout": 0.0,
    "share_statistics": False,
    "steps": None,
    "weight_norm": False,
    "layer": None,
}


class TrainingRuns(Results):
    """Results of training runs, in the order of their seeds; other jobs are left out.

    ``M`` stands for ``statistics_batch_size``. Runs are without penalty, partial noise, dropout, shared statistics, a given
    number of steps, weight normalization and a layer of its own M unless these are asked for, or all have them.

    Attributes:
        data: the name of what they were trained on.
        images: largest number of training images.
    """

    def __init__(self, results: Iterable[JobResult]) -> None:
        runs = sorted(
            (job for job in results if "statistics_batch_size" in job.config), key=lambda run: int(run.config["seed"])
        )
        super().__init__(runs)
        self._plain = {
            name: value for name, value in _PLAIN.items() if any(self._entry(run, name) == value for run in runs)
        }
        self.data: str = runs[0].result["data"]
        self.images: int = max(run.result["images"] for run in runs)

    def distinct(self, name: str, **conditions: Any) -> list[Any]:
        """Return the values that an entry of the configuration takes, ascending, infinity last."""
        found = {self._entry(run, name) for run in super().select(**conditions)}
        return sorted(found, key=lambda value: (value == "inf", value is not None, str(type(value)), value))

    def select(self, **conditions: Any) -> list[JobResult]:
        """Return the runs of one kind, one per seed.

        Raises:
            ValueError: several runs of one seed fit; the conditions must say what tells them apart.
        """
        found = super().select(**{**self._plain, **conditions})
        seeds = [run.config["seed"] for run in found]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"several runs of one seed fit {conditions}; name what tells them apart")
        return found

    def seeds(self, **conditions: Any) -> int:
        """Return the number of runs of one kind."""
        return len(self.select(**conditions))

    def values(self, what: str, **conditions: Any) -> NDArray[np.float64]:
        """Return an entry of the results, (seeds, ...)."""
        return np.array([run.result[what] for run in self.select(**conditions)], dtype=np.float64)

    def curves(self, what: str, **conditions: Any) -> NDArray[np.float64]:
        """Return an entry of the results' curves, (seeds, epochs, ...)."""
        found = [[epoch[what] for epoch in run.result["curve"]] for run in self.select(**conditions)]
        return np.array(found, dtype=np.float64)

    def neurons(self, what: str, **conditions: Any) -> NDArray[np.float64]:
        """Return a measure of single neurons, mean over the layers, (seeds,)."""
        runs = self.select(**conditions)
        found = [np.mean([layer[what] for layer in run.result["neurons"]["layers"]]) for run in runs]
        return np.array(found, dtype=np.float64)

    def _entry(self, job: JobResult, name: str) -> Any:
        name = "statistics_batch_size" if name == "M" else name
        return job.config.get(name, _PLAIN.get(name, ...))
