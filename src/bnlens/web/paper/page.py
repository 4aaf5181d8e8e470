"""The page of the paper: its record, findings and key terms, and how to cite it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bnlens.citing import cite
from bnlens.paper import record
from bnlens.web.api import CITATION_FORMATS
from bnlens.web.claims.findings_page import standings
from bnlens.web.claims.results import Snapshot
from bnlens.web.paper.api import paper_answer
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_SUMMARY = "What it says, what came of it when it was computed, its key terms, and how to cite it."


def _paper(snapshot: Snapshot) -> dict[str, Any]:
    citation = cite()
    return {
        "title": record().title,
        "problem": "",  # the page has more to say than results
        "paper": record(),
        "answer": paper_answer(),
        "formats": CITATION_FORMATS,
        "reference": citation.to_text().strip(),
        "bibtex": citation.to_bibtex().strip(),
        **standings(snapshot),
    }


def _export(site: Site) -> Iterable[str]:
    yield "/api/paper"
    yield from (f"/api/paper/citation/{form.value}" for form in CITATION_FORMATS)


PAGE = Page(id="paper", title="Paper", path="/paper", summary=_SUMMARY, context=_paper, export=_export)
