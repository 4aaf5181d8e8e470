"""Finds the newest run of a claim in a results file, without computing anything."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnlens.claims._claim import Claim, Job, Scale
from bnlens.claims._run import ClaimRun
from bnlens.claims.runner import judge
from bnlens.errors import BnlensError
from bnlens.runs import Done, Record, earlier_names, is_current

__all__ = ["StoredRun", "stored_run"]


@dataclass(frozen=True)
class StoredRun:
    """The newest run of a claim in a results file.

    Attributes:
        run: its jobs and, if all are stored, its finding.
        scale: the scale whose jobs these are.
        data: what data the jobs read, by name: ``"digits"`` or the name of a folder; empty if they draw their own.
        finished: when the last of the jobs ended, ISO 8601, UTC.
        jobs: how many jobs the claim has at that scale; more than are stored if the run was cut short.
        is_current: whether all of them were computed by the code that is installed.
    """

    run: ClaimRun
    scale: Scale
    data: str
    finished: str
    jobs: int
    is_current: bool


def stored_run(claim: Claim, records: Sequence[Record], known: StoredRun | None = None) -> StoredRun | None:
    """Return the newest run of a claim with its default parameters, or None if none of its jobs is stored.

    Jobs are found by function and configuration. A run that is complete comes before one that was cut short; a job that was
    computed twice counts as it was computed last.

    Args:
        claim: the claim.
        records: of a results file, see `bnlens.runs.read_records`.
        known: an earlier answer; it is returned, and not judged again, if nothing about this claim has changed since.
    """
    if not records:
        return None
    newest: dict[str, Record] = {}
    for stored in sorted(records, key=lambda record: record.finished):
        newest[_place(stored.function, stored.config)] = stored
    found = [
        (scale, jobs, [(job, record) for job in jobs if (record := _newest(job, newest))])
        for scale, jobs in _plans(claim, records)
    ]
    found = [(scale, jobs, pairs) for scale, jobs, pairs in found if pairs]
    if not found:
        return None
    scale, jobs, pairs = max(
        found, key=lambda each: (len(each[1]) == len(each[2]), max(record.finished for _, record in each[2]))
    )
    chosen = [replace(record, claim=claim.id, job=job.name) for job, record in pairs]
    if known is not None and known.scale == scale and known.run.records == chosen:
        return known
    run = ClaimRun(claim, chosen, 0, None, None)
    if len(pairs) == len(jobs):
        run = judge(claim, [Done(record) for record in chosen])
    sources = {Path(str(data)).name for record in chosen if (data := record.config.get("data"))}
    finished = max(record.finished for record in chosen)
    return StoredRun(run, scale, ", ".join(sorted(sources)), finished, len(jobs), all(map(is_current, chosen)))


def _plans(claim: Claim, records: Sequence[Record]) -> Iterator[tuple[Scale, Sequence[Job]]]:
    folders = {str(record.config["data"]) for record in records if "data" in record.config}
    scales: tuple[Scale, ...] = ("quick", "full")
    for scale in scales:
        for data in (None, *(Path(folder) for folder in sorted(folders) if Path(folder).is_absolute())):
            with contextlib.suppress(BnlensError):  # this scale needs data
                yield scale, claim.plan(scale, data, check=False)


def _newest(job: Job, newest: Mapping[str, Record]) -> Record | None:
    """Return the newest record of a job, whatever its function was called."""
    names = (job.function_name, *earlier_names(job))
    found = [record for name in names if (record := newest.get(_place(name, job.config)))]
    return max(found, key=lambda record: record.finished, default=None)


def _place(function: str, config: Mapping[str, Any]) -> str:
    return f"{function} {json.dumps(dict(config), sort_keys=True)}"
