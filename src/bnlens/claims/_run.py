"""Claims that have been run: their jobs, findings and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlens.claims._claim import Claim, Figure, Finding, Scale
from bnlens.runs import Record

__all__ = ["ClaimRun", "Reproduction"]


@dataclass(frozen=True)
class ClaimRun:
    """One claim that has been run.

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
    """Several claims that have been run.

    Attributes:
        runs: one per claim, in the order asked for.
        scale: the scale.
        report: path of ``report.html``.
    """

    runs: Sequence[ClaimRun]
    scale: Scale
    report: Path
