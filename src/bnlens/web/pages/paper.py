"""The paper's page: what it is, what it says, how to cite it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bnlens.citing import cite
from bnlens.paper import record
from bnlens.web.citations import CITATION_FORMATS
from bnlens.web.entries import FacetEntry, facet_entry
from bnlens.web.findings import STANDINGS, facets
from bnlens.web.paper_api import paper_answer
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/paper")
    async def paper(request: Request) -> Response:
        snapshot = await site.results.get()

        def render() -> Response:
            entries = [facet_entry(facet, snapshot) for facet in facets()]
            citation = cite()
            return site.render(
                request,
                "paper.html",
                title=record().title,
                paper=record(),
                answer=paper_answer(),
                facets=entries,
                tally=tally(entries),
                standings=STANDINGS,
                formats=CITATION_FORMATS,
                reference=citation.to_text().strip(),
                bibtex=citation.to_bibtex().strip(),
            )

        return await run_in_threadpool(render)

    return routes


def tally(entries: Iterable[FacetEntry]) -> dict[str, int]:
    """Return how many findings have each standing, those without any left out."""
    counts = Counter(finding.standing for facet in entries for finding in facet.findings)
    return {standing: counts[standing] for standing in STANDINGS if counts[standing]}


def _export(site: Site) -> Iterable[str]:
    yield "/api/paper"
    yield from (f"/api/paper/citation/{form.value}" for form in CITATION_FORMATS)


PAGE = Page(
    id="paper",
    title="Paper",
    path="/paper",
    summary="What it says, what came of it when it was computed, its key terms, and how to cite it.",
    routes=_routes,
    export=_export,
)
