"""Runs claims: computes what is not stored yet, judges, and writes the report."""

from __future__ import annotations

import contextlib
import json
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bnlens._files import write_atomic
from bnlens.claims import _pool
from bnlens.claims._claim import Claim, Finding, Job, Scale
from bnlens.claims._content import code_version, job_key
from bnlens.claims._fingerprint import fingerprint
from bnlens.claims._pool import available_cores
from bnlens.claims._worker import Outcome, Task
from bnlens.claims.store import Record, Store, run_lock
from bnlens.errors import BnlensError, UsageError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_Engine = Callable[..., Generator[tuple[int, Outcome], None, None]]

__all__ = ["ClaimRun", "Observer", "Reproduction", "judge", "reproduce"]


@dataclass(frozen=True)
class ClaimRun:
    """What running one claim gave.

    Attributes:
        claim: the claim.
        records: its jobs, finished or failed, in the order in which the claim lists them.
        computed: how many of them this run computed; the others were stored already.
        finding: the judgement; None if a job failed or the judging did.
        figure: the figure; None exactly when there is no finding.
        errors: one sentence per failure.
        is_user_error: whether a failure is one that the user can mend.
    """

    claim: Claim
    records: Sequence[Record]
    computed: int
    finding: Finding | None
    figure: Figure | None
    errors: Sequence[str] = ()
    is_user_error: bool = False

    @property
    def seconds(self) -> float:
        """Computing time of all jobs of the claim, those stored by earlier runs included."""
        return sum(record.seconds for record in self.records)


@dataclass(frozen=True)
class Reproduction:
    """What a run of several claims gave.

    Attributes:
        runs: one per claim, in the order asked for.
        scale: the scale.
        report: path of ``report.html``.
    """

    runs: Sequence[ClaimRun]
    scale: Scale
    report: Path


class Observer(Protocol):
    """Is told how a run goes, for example to show progress."""

    def planned(self, jobs: Sequence[tuple[Claim, Job]], stored: int) -> None:
        """Tell what will be computed, and how many jobs are stored already."""

    def started(self, claim: Claim, job: Job) -> None:
        """Tell that a job was handed to a worker."""

    def finished(self, claim: Claim, job: Job, record: Record) -> None:
        """Tell that a job has ended and is stored."""


class _Silent:
    def planned(self, jobs: Sequence[tuple[Claim, Job]], stored: int) -> None: ...

    def started(self, claim: Claim, job: Job) -> None: ...

    def finished(self, claim: Claim, job: Job, record: Record) -> None: ...


def reproduce(
    claims: Sequence[Claim],
    *,
    out: Path,
    scale: Scale = "quick",
    workers: int | None = None,
    threads: int = 1,
    scheduler: str | None = None,
    data: Path | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    observer: Observer | None = None,
) -> Reproduction:
    """Run claims and write ``report.html``; what is stored in ``out`` is not computed again.

    A result is stored the moment it arrives, so a run that is interrupted or killed goes on where it was cut. A job
    that fails, or whose process dies, is reported with its claim and takes no other job down.

    Args:
        claims: the claims, see `get_claims`.
        out: folder of ``runs.sqlite`` and ``report.html``; created if absent.
        scale: ``"quick"`` or ``"full"``.
        workers: number of jobs at once; by default the number of cores this process may use, or of the cluster's workers.
        threads: threads of each job. Results are repeatable at equal numbers of threads, whatever ``workers`` is.
        scheduler: address of a Dask scheduler; the jobs run on its workers in place of processes on this machine.
            ``out`` and ``data`` must have the same paths there for scratch folders and data.
        data: folder with CIFAR-10, for the claims that can use it. Its content counts, not its path.
        parameters: by claim id, values in place of defaults of the claim's parameters.
        observer: is told how the run goes.

    Raises:
        StoreError: ``out`` cannot be written, is in use by another run, or holds a results file that cannot be used.
        UsageError: ``workers`` or ``threads`` is below 1, or a parameter does not fit its claim.
        BnlensError: a claim cannot be planned with these data. In all these cases nothing has been computed.
        ClusterError: the scheduler does not answer or was lost, or a worker runs another version. What was finished
            before is stored.
    """
    for name, number in (("jobs at once", workers), ("threads of a job", threads)):
        if number is not None and number < 1:
            raise UsageError(f"the number of {name} is {number}; it must be at least 1")
    data = None if data is None else data.absolute()  # a worker may stand elsewhere
    planned = _plan(claims, scale, data, parameters or {})
    with run_lock(out), Store(out / "runs.sqlite") as store:
        contents = _contents(planned, data, out / "data.json")
        tasks = [_task(job, job_key(job, contents), out / "scratch", threads) for _, job in planned]
        keys = [task.key for task in tasks]
        engine = _engine(workers, scheduler)
        records, computed = _compute(planned, tasks, store, engine, observer or _Silent())
        runs = []
        for claim in claims:
            of_claim = [index for index, (owner, _) in enumerate(planned) if owner is claim]
            outcomes = [computed[keys[index]] for index in of_claim if keys[index] in computed]
            runs.append(judge(claim, [records[index] for index in of_claim], outcomes))
        from bnlens.claims._html import report_page

        reproduction = Reproduction(runs, scale, out / "report.html")
        write_atomic(reproduction.report, report_page(reproduction))
    return reproduction


def _plan(
    claims: Sequence[Claim], scale: Scale, data: Path | None, parameters: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Claim, Job]]:
    planned = [(claim, job) for claim in claims for job in claim.plan(scale, data, parameters.get(claim.id))]
    names = Counter((claim.id, job.name) for claim, job in planned)
    repeated = [f"{claim_id} {name}" for (claim_id, name), count in names.items() if count > 1]
    if repeated:
        raise ValueError(f"jobs of one claim need different names: {', '.join(repeated)}")
    return planned


def _compute(
    planned: Sequence[tuple[Claim, Job]], tasks: Sequence[Task], store: Store, engine: _Engine, observer: Observer
) -> tuple[list[Record], dict[str, Outcome]]:
    """Return the record of every job, and the outcome of those computed now, by key; one key is one computation."""
    keys = [task.key for task in tasks]
    records = {key: store.get(key) for key in keys}
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    missing = sorted(first[key] for key, record in records.items() if record is None or record.status != "done")
    observer.planned([planned[index] for index in missing], len(records) - len(missing))
    computed: dict[str, Outcome] = {}
    outcomes = engine([tasks[index] for index in missing], on_start=lambda at: observer.started(*planned[missing[at]]))
    with contextlib.closing(outcomes):
        for at, outcome in outcomes:
            index = missing[at]
            claim, job = planned[index]
            task = tasks[index]
            record = _record(task, claim, job, outcome)
            store.put(record)
            if record.status == "done":
                _remove_scratch(task)
            records[keys[index]], computed[keys[index]] = record, outcome
            observer.finished(claim, job, record)
    found = ((records[key], claim, job) for key, (claim, job) in zip(keys, planned, strict=True))
    return [replace(record, claim=claim.id, job=job.name) for record, claim, job in found if record], computed


def _contents(planned: Sequence[tuple[Claim, Job]], data: Path | None, cache: Path) -> dict[str, str]:
    """Return the fingerprint of the data folder, if a job reads it."""
    if data is None or all(job.config.get("data") != str(data) for _, job in planned):
        return {}
    return {str(data): fingerprint(data, cache)}


def _task(job: Job, key: str, scratch: Path, threads: int) -> Task:
    return Task(
        key=key,
        code=code_version(job.function),
        module=job.function.__module__,
        name=job.function.__qualname__,
        config=dict(job.config),
        cost=job.cost,
        scratch=str(scratch.absolute() / key),
        threads=threads,
    )


def _engine(workers: int | None, scheduler: str | None) -> _Engine:
    if scheduler is None:
        return partial(_pool.execute, workers=available_cores() if workers is None else workers)
    from bnlens.claims import _dask

    return partial(_dask.execute, scheduler=scheduler, at_once=workers)


def _remove_scratch(task: Task) -> None:
    """Remove the scratch folder of a job, and the folder of all of them with the last one."""
    if task.scratch:
        folder = Path(task.scratch)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other jobs have theirs
            folder.parent.rmdir()


def _record(task: Task, claim: Claim, job: Job, outcome: Outcome) -> Record:
    return Record(
        key=task.key,
        claim=claim.id,
        job=job.name,
        function=f"{task.module}:{task.name}",
        config=job.config,
        code=task.code,
        status="failed" if outcome.result is None else "done",
        seconds=outcome.seconds,
        started=outcome.started,
        finished=outcome.finished,
        result=None if outcome.result is None else json.loads(outcome.result),
        error=outcome.error,
        traceback=outcome.traceback,
        versions=outcome.versions,
    )


def judge(claim: Claim, records: Sequence[Record], outcomes: Sequence[Outcome] = ()) -> ClaimRun:
    """Judge a claim by the records of all its jobs; ``outcomes`` are those that this run computed."""
    computed = len(outcomes)
    errors = [f"job {record.job} failed: {record.error}" for record in records if record.status != "done"]
    if errors:
        is_user_error = any(outcome.is_user_error for outcome in outcomes)
        return ClaimRun(claim, records, computed, None, None, errors, is_user_error)
    results = {record.job: record.result or {} for record in records}
    try:
        finding, figure = claim.judge(results), claim.figure(results)
    except BnlensError as raised:
        return ClaimRun(claim, records, computed, None, None, [str(raised)], is_user_error=True)
    except Exception as raised:  # noqa: BLE001 - one claim that cannot be judged leaves the others their verdicts
        error = f"judging failed: {' '.join(traceback.format_exception_only(raised)[-1].split())}"
        return ClaimRun(claim, records, computed, None, None, [error])
    return ClaimRun(claim, records, computed, finding, figure)
