"""The paper's findings in seven facets, each tied to the claims that test it.

A finding is a sentence; ``supports`` says that it stands if the claim holds, ``opposes`` that it stands if the claim does not.
Its standing is worked out from the verdicts, never written down.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

from bnlens.claims import Verdict
from bnlens.render import MathText, Tone
from bnlens.web.claims.results import Snapshot

__all__ = ["STANDINGS", "Facet", "Finding", "Relation", "Standing", "counted", "facets", "outcome", "standing"]

Relation = Literal["supports", "opposes"]
Standing = Literal[
    "borne out", "confirmed limitation", "borne out in part", "not borne out", "premise not met", "not computed yet"
]
STANDINGS: Mapping[Standing, Tone] = {
    "borne out": "good",
    "confirmed limitation": "fair",
    "borne out in part": "fair",
    "not borne out": "poor",
    "premise not met": "plain",
    "not computed yet": "plain",
}
_SEVERAL = {"confirmed limitation": "confirmed limitations", "premise not met": "premises not met"}
_FOR = {"holds": 1.0, "holds approximately": 0.5, "does not hold here": 0.0}


@dataclass(frozen=True)
class Finding:
    """A sentence in our words, and by id of a claim whether it stands with it or against it.

    A finding that ``is_limitation`` says where the paper does not reach. Of a claim in ``parts``, which judges parts of its
    statement apart, the sentence is about that part alone.
    """

    id: str
    text: str
    claims: Mapping[str, Relation]
    parts: Mapping[str, str] = field(default_factory=dict)
    is_limitation: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", MathText(self.text))

    def verdicts(self, snapshot: Snapshot) -> dict[tuple[str, str], Verdict]:
        """Return the verdicts of the newest runs by claim and part; the part is empty where there is one verdict alone."""
        found: dict[tuple[str, str], Verdict] = {}
        for claim_id in self.claims:
            stored = snapshot.runs.get(claim_id)
            if stored is None or stored.run.finding is None:
                continue
            parts = stored.run.finding.parts
            if claim_id in self.parts and parts:
                parts = {self.parts[claim_id]: parts[self.parts[claim_id]]}
            found |= {
                (claim_id, part): verdict for part, verdict in (parts or {"": stored.run.finding.verdict}).items()
            }
        return found


@dataclass(frozen=True)
class Facet:
    """One side of the paper: a title of a word or two, the question that it answers, its sentences."""

    id: str
    title: str
    question: str
    findings: Sequence[Finding]


@functools.cache
def facets() -> tuple[Facet, ...]:
    """Return all facets in the order of the page."""
    text = files("bnlens.web.claims").joinpath("findings.json").read_text(encoding="utf-8")
    return tuple(
        Facet(
            **{name: facet[name] for name in ("id", "title", "question")},
            findings=[Finding(**found, is_limitation=facet["id"] == "limitations") for found in facet["findings"]],
        )
        for facet in json.loads(text)["facets"]
    )


def counted(count: int, standing: Standing) -> str:
    """Return how many findings have a standing, in words."""
    return f"{count} {standing if count == 1 else _SEVERAL.get(standing, standing)}"


def standing(finding: Finding, snapshot: Snapshot) -> Standing:
    """Return how a finding stands by the newest runs; claims not judged and premises not met count for nothing."""
    verdicts = finding.verdicts(snapshot)
    scores = []
    for (claim_id, _), verdict in verdicts.items():
        if verdict != "premise not met":
            scores.append(_FOR[verdict] if finding.claims[claim_id] == "supports" else 1 - _FOR[verdict])
    if not scores:
        return "premise not met" if verdicts else "not computed yet"
    if set(scores) == {1.0}:
        return "confirmed limitation" if finding.is_limitation else "borne out"
    return "borne out in part" if any(scores) else "not borne out"


def outcome(finding: Finding, snapshot: Snapshot) -> str:
    """Return in one line which of the claims, and which parts of them, came out how; empty before any was judged."""
    groups: dict[str, list[str]] = {}
    for (claim_id, part), verdict in finding.verdicts(snapshot).items():
        groups.setdefault(verdict, []).append(f"{snapshot.claims[claim_id].title} ({claim_id}{part and f', {part}'})")
    return "; ".join(f"{verdict}: {', '.join(named)}" for verdict, named in groups.items())
