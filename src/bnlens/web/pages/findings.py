"""The key findings in seven facets, each with the verdicts behind it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bnlens.web.entries import facet_entry
from bnlens.web.findings import STANDINGS, facets
from bnlens.web.pages.paper import tally
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/findings")
    async def findings(request: Request) -> Response:
        snapshot = await site.results.get()

        def render() -> Response:
            entries = [facet_entry(facet, snapshot) for facet in facets()]
            return site.render(
                request,
                "findings.html",
                title="Key findings",
                description=(
                    "What the paper says, sentence by sentence, beside what came out when it was computed. The sentences are "
                    "ours; the verdicts are those of the newest run in the served folder."
                ),
                facets=entries,
                tally=tally(entries),
                standings=STANDINGS,
                problem=snapshot.problem,
            )

        return await run_in_threadpool(render)

    return routes


PAGE = Page(
    id="findings",
    title="Findings",
    path="/findings",
    summary="Seven facets of the paper; every sentence with the number, error and verdict that back it or do not.",
    routes=_routes,
    export=lambda site: ("/api/findings",),
)
