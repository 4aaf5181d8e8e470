"""Claims, findings and runs as the API hands them out and the pages show them."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, SkipValidation

from bnlens import render
from bnlens._plain import plain
from bnlens.citing import cite
from bnlens.claims import TONES, Claim, PaperStatement, StoredRun, seeds_text
from bnlens.runs import available_cores
from bnlens.web.claims.findings import Facet, Finding, Standing, outcome, standing
from bnlens.web.claims.results import Snapshot

__all__ = ["ClaimAnswer", "ClaimEntry", "FacetEntry", "claim_answer", "claim_entry", "facet_entry"]

Told: TypeAlias = Annotated[str, SkipValidation]
"""Text that stays `bnlens.render.MathText`: formulas on pages, plain text in JSON."""

VerdictText = Literal["holds", "holds approximately", "does not hold here", "premise not met", "not judged"]


class ResultEntry(BaseModel):
    """The newest run of a claim in the folder."""

    verdict: VerdictText = "not judged"
    parts: dict[str, VerdictText] = Field({}, description="Verdicts on parts of the statement that are judged apart.")
    measured: float | None = Field(None, description="The headline number; null if the claim was not judged.")
    stderr: float | None = Field(None, description="Its standard error.")
    predicted: float | None = Field(None, description="What the claim says that number is.")
    number: str = Field("", description="Headline number with its error, as text.")
    prediction: str = ""
    summary: Told = ""
    corrects_paper: Told | None = None
    scale: Literal["quick", "full"]
    data: str = Field(description="Images that were used, by name; empty if the jobs draw their own numbers.")
    seeds: str
    finished: str = Field(description="When the last job ended, ISO 8601, UTC.")
    date: str
    seconds: float = Field(description="Computing time of all jobs.")
    jobs: int = Field(description="Jobs of the claim at this scale.")
    stored: int = Field(description="How many of them are stored; fewer if a run was cut short.")
    is_current: bool = Field(description="Whether the code that is installed computed it.")
    errors: list[str]

    @property
    def tone(self) -> str:
        """Colour of the verdict."""
        return TONES[self.verdict] if self.verdict != "not judged" or self.errors else "plain"


class ClaimEntry(BaseModel):
    """A claim with the result of its newest run."""

    id: str
    title: str
    paper: PaperStatement | None = Field(description="Null for a claim that is ours.")
    statement: Told = Field(description="What is tested.")
    source: str
    agreement: Told
    quantity: str = Field(description="The headline number, measured and predicted, in words, with its unit.")
    core: bool = Field(description="Whether `bnlens reproduce` without ids runs it.")
    page: str
    command: str = Field(description="The command line that computes it.")
    expected_seconds: float = Field(description="About how long a run at scale quick takes on this machine.")
    result: ResultEntry | None = Field(description="Null if nothing of it is stored in the folder.")


class ClaimAnswer(ClaimEntry):
    """A claim in full."""

    rows: list[dict[str, Any]] = Field(description="The table behind the verdict.")
    works: list[dict[str, Any]] = Field(description="What to cite, CSL-JSON.")


class FindingEntry(BaseModel):
    """A sentence about the paper and whether the computations bear it out."""

    id: str
    text: Told
    standing: Standing
    outcome: str = Field(description="Which of its claims, and which parts of them, came out how.")
    computed: int = Field(description="How many of its claims were judged.")
    claims: list[ClaimEntry]
    relations: dict[str, Literal["supports", "opposes"]] = Field(
        description="By claim: whether the finding stands with the claim or against it."
    )


class FacetEntry(BaseModel):
    """One of the seven facets."""

    id: str
    title: str
    question: str
    findings: list[FindingEntry]


_OF_CLAIM = ("id", "title", "paper", "statement", "source", "agreement", "quantity", "core")


def claim_entry(claim: Claim, snapshot: Snapshot) -> ClaimEntry:
    """Return a claim with its newest run."""
    stored = snapshot.runs.get(claim.id)
    return ClaimEntry(
        **{name: getattr(claim, name) for name in _OF_CLAIM},
        page=f"/claims/{claim.id}",
        command=f"bnlens reproduce {claim.id}",
        expected_seconds=_expected_seconds(claim, stored),
        result=None if stored is None else _result(stored),
    )


def claim_answer(claim: Claim, snapshot: Snapshot) -> ClaimAnswer:
    """Return a claim in full."""
    stored = snapshot.runs.get(claim.id)
    rows = plain(stored.run.finding.rows) if stored and stored.run.finding else []
    works = [dict(item) for item in cite(claim).items]
    return ClaimAnswer(**dict(claim_entry(claim, snapshot)), rows=rows, works=works)


def facet_entry(facet: Facet, snapshot: Snapshot) -> FacetEntry:
    """Return a facet with the standing of its findings."""
    findings = [_finding(finding, snapshot) for finding in facet.findings]
    return FacetEntry(id=facet.id, title=facet.title, question=facet.question, findings=findings)


def _finding(finding: Finding, snapshot: Snapshot) -> FindingEntry:
    known = [snapshot.claims[name] for name in finding.claims if name in snapshot.claims]
    entries = [claim_entry(claim, snapshot) for claim in known]
    return FindingEntry(
        id=finding.id,
        text=finding.text,
        standing=standing(finding, snapshot),
        outcome=outcome(finding, snapshot),
        computed=sum(entry.result is not None and entry.result.verdict != "not judged" for entry in entries),
        claims=entries,
        relations=dict(finding.claims),
    )


def _expected_seconds(claim: Claim, stored: StoredRun | None) -> float:
    """Return the time that a run of all jobs takes, from an earlier one if there is one, else from the costs of the jobs."""
    has_run = stored is not None and stored.scale == "quick" and len(stored.run.records) == stored.jobs
    return (stored.run.seconds if stored and has_run else _cost(claim)) / available_cores()


@lru_cache(maxsize=256)
def _cost(claim: Claim) -> float:
    return sum(job.cost for job in claim.plan(check=False))


def _result(stored: StoredRun) -> ResultEntry:
    run, finding, ended = stored.run, stored.run.finding, datetime.fromisoformat(stored.finished)
    judged: dict[str, Any] = {}
    if finding is not None:
        judged = {name: getattr(finding, name) for name in ("verdict", "parts", "summary", "corrects_paper")}
        judged |= {name: plain(getattr(finding, name)) for name in ("measured", "stderr", "predicted")}
        judged["number"] = render.signed(render.number(finding.measured, finding.stderr))
        judged["prediction"] = render.signed(render.number(finding.predicted))
    return ResultEntry(
        **judged,
        scale=stored.scale,
        data=stored.data,
        seeds=seeds_text(run.records),
        finished=stored.finished,
        date=f"{ended.day} {ended:%B %Y}",
        seconds=run.seconds,
        jobs=stored.jobs,
        stored=len(run.records),
        is_current=stored.is_current,
        errors=list(run.errors),
    )
