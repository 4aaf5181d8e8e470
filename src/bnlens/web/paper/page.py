"""The page of the paper: its record, findings and key terms, and how to cite it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bnlens._plain import plain
from bnlens.citing import cite
from bnlens.paper import compare_terms, record, term_weights
from bnlens.web.claims.findings_page import standings
from bnlens.web.claims.results import Snapshot
from bnlens.web.downloads import CITATION_FORMATS, CitationFormat, citation_response
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_SHOWN = 12
_FIELDS = (
    *("id", "title", "authors", "venue", "year", "arxiv", "openreview", "categories", "license", "comments", "summary"),
    *("digest", "abstract_url", "pdf_url", "openreview_url"),
)


def _paper(snapshot: Snapshot) -> dict[str, Any]:
    citation = cite()
    return {
        "title": record().title,
        "problem": "",  # the page has more to say than results
        "paper": record(),
        "terms": _terms(),
        "reference": citation.to_text().strip(),
        "bibtex": citation.to_bibtex().strip(),
        **standings(snapshot),
    }


@functools.cache
def _terms() -> dict[str, Any]:
    """Return the key terms found here beside those of the paper's public page, heaviest first, with their agreement."""
    weights, public = term_weights(), record().page.terms
    found = {"found": dict(list(weights.items())[:_SHOWN]), "public": public}
    comparison = compare_terms(weights)
    return {
        **{name: [{"term": term, "weight": weight} for term, weight in each.items()] for name, each in found.items()},
        **{name: plain(getattr(comparison, name)) for name in ("overlap", "spearman", "kendall")},
    }


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/paper")
    async def page(request: Request) -> Response:
        return await site.show(request, "paper.html", _paper)

    @routes.get("/api/paper", summary="The paper: identifiers, dates, summary, key terms", tags=["paper"])
    def data() -> dict[str, Any]:
        paper = record()
        return {
            **{name: getattr(paper, name) for name in _FIELDS},
            **{name: getattr(paper.page, name) for name in ("references", "influential")},
            "versions": {number: day.isoformat() for number, day in paper.versions.items()},
            "terms": _terms(),
        }

    @routes.get("/api/paper/citation/{form}", summary="The paper, to cite", tags=["paper"], response_class=Response)
    def citation(form: CitationFormat) -> Response:
        return citation_response(cite(), form, record().id)

    return routes


def _export(site: Site) -> Iterable[str]:
    yield "/api/paper"
    yield from (f"/api/paper/citation/{form}" for form in CITATION_FORMATS)


PAGE = Page(title="Paper", path="/paper", routes=_routes, export=_export)
