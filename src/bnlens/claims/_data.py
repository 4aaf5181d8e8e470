"""Claims and findings as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bnlens._plain import plain
from bnlens.claims._claim import Claim, Finding, PaperStatement
from bnlens.render import MathText, Tone
from bnlens.runs import Record

if TYPE_CHECKING:
    from bnlens.claims._run import ClaimRun

__all__ = ["TONES", "claim_data", "paper_text", "parts_text", "run_data", "seeds_text"]

TONES: Mapping[str, Tone] = {
    "holds": "good",
    "holds approximately": "fair",
    "does not hold here": "poor",
    "premise not met": "plain",
    "not judged": "poor",
}
"""The verdicts with the tones of their badges; a claim that could not be judged comes last."""


def claim_data(claim: Claim) -> dict[str, Any]:
    """Return a claim as JSON data, without a run; ``parameters`` are those of scale quick."""
    parameters = {} if claim.parameters is None else plain(claim.parameters("quick", None))
    return {**_face(claim), "parameters": parameters}


def run_data(run: ClaimRun) -> dict[str, Any]:
    """Return a claim with its finding as JSON data.

    A claim that could not be judged has None for verdict and numbers, and its ``errors`` say why. Numbers that JSON
    lacks (NaN, infinity) become None.
    """
    finding = run.finding
    names = ("verdict", "parts", "measured", "predicted", "stderr", "ratio", "summary", "corrects_paper")
    return {
        **_face(run.claim),
        **{name: plain(getattr(finding, name)) if finding else None for name in names},
        "rows": plain(finding.rows) if finding else [],
        "seconds": run.seconds,
        "jobs": len(run.records),
        "computed": run.computed,
        "errors": list(run.errors),
    }


def _face(claim: Claim) -> dict[str, Any]:
    face = {
        name: getattr(claim, name) for name in ("id", "title", "statement", "source", "agreement", "quantity", "core")
    }
    return {**face, "paper": None if claim.paper is None else asdict(claim.paper)}


def paper_text(paper: PaperStatement) -> MathText:
    """Return what the paper says, where, how surely we know it, and where it is not what is tested."""
    differs = f" Tested is another statement: {MathText(paper.differs).source}" if paper.differs else ""
    return MathText(f"{MathText(paper.words).source} ({paper.section}; {paper.known}.){differs}")


def parts_text(finding: Finding) -> str:
    """Return the verdicts on the parts of a claim in one line."""
    return "; ".join(f"{part}: {verdict}" for part, verdict in finding.parts.items())


def seeds_text(records: Sequence[Record]) -> str:
    """Return the seeds of these jobs in words."""
    configs = [item for record in records for item in record.config.items()]
    seeds = sorted({value for name, value in configs if "seed" in name.lower() and isinstance(value, int)})
    shown = ", ".join(map(str, seeds[:8]))
    return f"{shown} and {len(seeds) - 8} more" if len(seeds) > 8 else shown
