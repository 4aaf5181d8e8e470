"""The front page."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bnlens.claims import TONES
from bnlens.web.claims.entries import claim_entry
from bnlens.web.claims.results import Snapshot
from bnlens.web.site import Page

__all__ = ["PAGE"]


def _home(snapshot: Snapshot) -> dict[str, Any]:
    entries = [claim_entry(claim, snapshot) for claim in snapshot.claims.values()]
    results = [entry.result for entry in entries if entry.result and entry.result.verdict != "not judged"]
    counts = Counter(result.verdict for result in results)
    return {
        "title": "How much does batch normalization regularise?",
        "description": (
            "A network that normalises with the statistics of M samples has a higher training loss than with those of the "
            "population. That gap is a regulariser, and it can be measured, predicted and set."
        ),
        "first": next((entry for entry in entries if entry.core), None),
        "claims": len(entries),
        "verdicts": [(verdict, count, TONES[verdict]) for verdict, count in counts.most_common()],
        "newest": max(results, key=lambda result: result.finished, default=None),
    }


PAGE = Page(id="home", title="Start", path="/", context=_home)
