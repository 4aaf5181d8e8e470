"""Computes jobs: what is stored is not computed again, and a result is stored the moment it arrives."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from bnlens.errors import UsageError
from bnlens.runs import _pool
from bnlens.runs._fingerprint import fingerprint
from bnlens.runs._pool import available_cores
from bnlens.runs._worker import Outcome, Task
from bnlens.runs.earlier import earlier_keys
from bnlens.runs.job import Job
from bnlens.runs.key import code_version, job_key
from bnlens.runs.store import Record, Store, run_lock

__all__ = ["FILE", "Done", "Observer", "compute"]

_Engine = Callable[..., Generator[tuple[int, Outcome], None, None]]

FILE = "runs.sqlite"
"""Name of the results file in a run folder."""


@dataclass(frozen=True)
class Done:
    """How a job stands after a run.

    Attributes:
        record: what is stored of it, under the owner and the name that this run gave it.
        is_new: whether this run computed it.
        is_user_error: whether it failed in this run by what the user can mend.
    """

    record: Record
    is_new: bool = False
    is_user_error: bool = False


class Observer(Protocol):
    """Is told how a run goes, for example to show progress. Jobs come with their owners."""

    def planned(self, jobs: Sequence[tuple[str, Job]], stored: int) -> None:
        """Tell what will be computed, and how many jobs are stored already."""

    def started(self, owner: str, job: Job) -> None:
        """Tell that a job was handed to a worker."""

    def finished(self, owner: str, job: Job, record: Record) -> None:
        """Tell that a job has ended and is stored."""


def compute(
    jobs: Sequence[tuple[str, Job]],
    *,
    folder: Path,
    workers: int | None = None,
    threads: int = 1,
    scheduler: str | None = None,
    data: Path | None = None,
    again: bool = False,
    observer: Observer | None = None,
) -> list[Done]:
    """Compute jobs that are not stored yet, and return how each stands, in their order.

    A run that is interrupted or killed goes on where it was cut. A job that fails, or whose process dies, takes no other job
    down. Jobs that are the same computation are computed once.

    Args:
        jobs: each with its owner, a name that is stored with the result.
        folder: of the results file; created if absent.
        workers: number of jobs at once; by default the number of cores this process may use, or of the cluster's workers.
        threads: threads of each job. Results are repeatable at equal numbers of threads, whatever ``workers`` is.
        scheduler: address of a Dask scheduler; the jobs run on its workers in place of processes on this machine.
            ``folder`` and ``data`` must have the same paths there for scratch folders and data.
        data: folder of data, absolute. Its content counts in the keys of jobs that read it, not its path.
        again: whether what is stored is computed again; its results take the place of those stored.
        observer: is told how the run goes.

    Raises:
        StoreError: ``folder`` cannot be written, is in use by another run, or holds a results file that cannot be used.
        UsageError: ``workers`` or ``threads`` is below 1. In these cases nothing has been computed.
        ClusterError: the scheduler does not answer or was lost, or a worker runs another version. What was finished
            before is stored.
    """
    for name, number in (("jobs at once", workers), ("threads of a job", threads)):
        if number is not None and number < 1:
            raise UsageError(f"the number of {name} is {number}; it must be at least 1")
    if scheduler is not None:
        from bnlens.runs import _dask

        _dask.check_scheduler(scheduler)  # before a folder is made
    with run_lock(folder), Store(folder / FILE) as store:
        contents = _contents([job for _, job in jobs], data, folder / "data.json")
        tasks = [_task(job, contents, folder / "scratch", threads) for _, job in jobs]
        return _compute(jobs, tasks, store, _engine(workers, scheduler), contents, again, observer)


def _compute(
    jobs: Sequence[tuple[str, Job]],
    tasks: Sequence[Task],
    store: Store,
    engine: _Engine,
    contents: Mapping[str, str],
    again: bool,
    observer: Observer | None,
) -> list[Done]:
    first = {task.key: index for index, task in reversed(list(enumerate(tasks)))}  # one key is one computation
    done: dict[str, Done] = {}
    for key, index in () if again else first.items():
        keys = [key, *earlier_keys(jobs[index][1], contents)]
        stored = next((found for found in map(store.get, keys) if found and found.status == "done"), None)
        if stored:
            done[key] = Done(stored)
    missing = sorted(index for key, index in first.items() if key not in done)
    if observer:
        observer.planned([jobs[index] for index in missing], len(done))
    outcomes = engine(
        [tasks[index] for index in missing],
        on_start=lambda at: observer.started(*jobs[missing[at]]) if observer else None,
    )
    with _no_empty_folders(tasks), contextlib.closing(outcomes):
        for at, outcome in outcomes:
            owner, job = jobs[missing[at]]
            task = tasks[missing[at]]
            record = _record(task, owner, job, outcome)
            store.put(record)
            if record.status == "done":
                _remove_scratch(task)
            done[task.key] = Done(record, is_new=True, is_user_error=outcome.is_user_error)
            if observer:
                observer.finished(owner, job, record)
    found = ((done[task.key], owner, job) for task, (owner, job) in zip(tasks, jobs, strict=True))
    return [replace(each, record=replace(each.record, claim=owner, job=job.name)) for each, owner, job in found]


def _contents(jobs: Sequence[Job], data: Path | None, cache: Path) -> dict[str, str]:
    """Return the fingerprint of the data folder, if a job reads it."""
    if data is None or all(job.config.get("data") != str(data) for job in jobs):
        return {}
    return {str(data): fingerprint(data, cache)}


def _task(job: Job, contents: Mapping[str, str], scratch: Path, threads: int) -> Task:
    key, code = job_key(job, contents), code_version(job.function)
    module, name = job.function.__module__, job.function.__qualname__
    return Task(key, code, module, name, dict(job.config), job.cost, str(scratch.absolute() / key), threads)


def _engine(workers: int | None, scheduler: str | None) -> _Engine:
    if scheduler is None:
        return partial(_pool.execute, workers=available_cores() if workers is None else workers)
    from bnlens.runs import _dask

    return partial(_dask.execute, scheduler=scheduler, at_once=workers)


def _remove_scratch(task: Task) -> None:
    """Remove the scratch folder of a job."""
    if task.scratch:
        shutil.rmtree(task.scratch, ignore_errors=True)


@contextlib.contextmanager
def _no_empty_folders(tasks: Sequence[Task]) -> Iterator[None]:
    """Remove, at the end, the scratch folders that hold nothing to go on from, and the folder of all with the last one."""
    try:
        yield
    finally:
        places = [Path(task.scratch) for task in tasks if task.scratch]
        for folder in (*places, *dict.fromkeys(place.parent for place in places)):
            with contextlib.suppress(OSError):  # it holds something, or was never made
                folder.rmdir()


def _record(task: Task, owner: str, job: Job, outcome: Outcome) -> Record:
    ended = {name: value for name, value in vars(outcome).items() if name in Record.__dataclass_fields__}
    result = None if outcome.result is None else json.loads(outcome.result)
    status: Literal["done", "failed"] = "failed" if result is None else "done"
    planned = (task.key, owner, job.name, job.function_name, job.config, task.code)
    return Record(*planned, status=status, **{**ended, "result": result})
