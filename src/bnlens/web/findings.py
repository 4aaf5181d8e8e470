"""The paper's findings in seven facets, each tied to the claims that test it.

A finding is a sentence; ``supports`` says that it stands if the claim holds, ``opposes`` that it stands if the claim does not.
Its standing is worked out from the verdicts, never written down.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from bnlens.render import Tone
from bnlens.web.results import Snapshot

__all__ = ["STANDINGS", "Facet", "Finding", "Relation", "Standing", "facets", "standing"]

Relation = Literal["supports", "opposes"]
Standing = Literal["borne out", "borne out in part", "not borne out", "not computed yet"]
STANDINGS: Mapping[Standing, Tone] = {
    "borne out": "good",
    "borne out in part": "fair",
    "not borne out": "poor",
    "not computed yet": "plain",
}
_FOR = {"holds": 1.0, "holds approximately": 0.5, "does not hold here": 0.0}


@dataclass(frozen=True)
class Finding:
    """A sentence in our words, and by id of a claim whether it stands with it or against it."""

    id: str
    text: str
    claims: Mapping[str, Relation]


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
    text = files("bnlens.web").joinpath("data", "findings.json").read_text(encoding="utf-8")
    return tuple(
        Facet(**{**entry, "findings": tuple(Finding(**found) for found in entry["findings"])})
        for entry in json.loads(text)["facets"]
    )


def standing(finding: Finding, snapshot: Snapshot) -> Standing:
    """Return how a finding stands by the newest runs; claims that were not judged count for nothing."""
    scores = []
    for claim_id, relation in finding.claims.items():
        stored = snapshot.runs.get(claim_id)
        if stored is not None and stored.run.finding is not None:
            score = _FOR[stored.run.finding.verdict]
            scores.append(score if relation == "supports" else 1 - score)
    if not scores:
        return "not computed yet"
    if set(scores) == {1.0}:
        return "borne out"
    return "borne out in part" if any(scores) else "not borne out"
