"""Runs claims: has their jobs computed, judges, and writes the report."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnlens._files import write_atomic
from bnlens.claims._claim import Claim, Finding, Scale
from bnlens.claims._html import report_page
from bnlens.claims._results import Results
from bnlens.claims._run import ClaimRun, Reproduction
from bnlens.errors import BnlensError
from bnlens.render import MathText
from bnlens.runs import Done, Job, Observer, compute

__all__ = ["judge", "reproduce"]


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
    again: bool = False,
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
        again: whether what is stored is computed again.
        observer: is told how the run goes.

    Raises:
        StoreError: ``out`` cannot be written, is in use by another run, or holds a results file that cannot be used.
        UsageError: ``workers`` or ``threads`` is below 1, or a parameter does not fit its claim.
        BnlensError: a claim cannot be planned with these data. In all these cases nothing has been computed.
        ClusterError: the scheduler does not answer or was lost, or a worker runs another version. What was finished
            before is stored.
    """
    data = None if data is None else data.absolute()  # a worker may stand elsewhere
    planned = _plan(claims, scale, data, parameters or {})
    jobs = [(claim.id, job) for claim, job in planned]
    options: dict[str, Any] = {
        "workers": workers,
        "threads": threads,
        "scheduler": scheduler,
        "again": again,
        "observer": observer,
    }
    done = compute(jobs, folder=out, data=data, **options)
    owned = [(claim, each) for (claim, _), each in zip(planned, done, strict=True)]
    runs = [judge(claim, [each for owner, each in owned if owner is claim]) for claim in claims]
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


def judge(claim: Claim, jobs: Sequence[Done]) -> ClaimRun:
    """Judge a claim by how all its jobs stand."""
    records = [done.record for done in jobs]
    computed = sum(done.is_new for done in jobs)
    errors = [f"job {record.job} failed: {record.error}" for record in records if record.status != "done"]
    if errors:
        return ClaimRun(claim, records, computed, None, None, errors, any(done.is_user_error for done in jobs))
    results = Results((record.config, record.result or {}) for record in records)
    try:
        finding, figure = _fair(claim, claim.judge(results)), claim.figure(results)
    except BnlensError as raised:
        return ClaimRun(claim, records, computed, None, None, [str(raised)], is_user_error=True)
    except Exception as raised:  # noqa: BLE001 - one claim that cannot be judged leaves the others their verdicts
        error = f"judging failed: {' '.join(traceback.format_exception_only(raised)[-1].split())}"
        return ClaimRun(claim, records, computed, None, None, [error])
    return ClaimRun(claim, records, computed, finding, figure)


def _fair(claim: Claim, finding: Finding) -> Finding:
    """Hold a finding to its claim: a premise is named before the run, and only the paper's own statement corrects the paper."""
    if finding.verdict == "premise not met" and claim.premise is None:
        raise ValueError('agreement has no rule "Premise not met: "')
    if finding.corrects_paper and (claim.paper is None or claim.paper.differs):
        told = " ".join(MathText(text).source for text in (finding.summary, finding.corrects_paper))
        return replace(finding, summary=told, corrects_paper=None)
    return finding
