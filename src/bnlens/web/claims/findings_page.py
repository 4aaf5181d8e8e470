"""The key findings in seven facets, each with the verdicts behind it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bnlens.web.claims.entries import FacetEntry, facet_entry
from bnlens.web.claims.findings import STANDINGS, counted, facets
from bnlens.web.claims.results import Snapshot
from bnlens.web.claims.thumbnail import thumbnail
from bnlens.web.site import Page, Site

__all__ = ["PAGE", "standings"]


def _findings(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "title": "Key findings",
        "description": (
            "What the paper says, sentence by sentence, beside what came out when it was computed. The sentences are ours; the "
            "verdicts are those of the newest run in the served folder."
        ),
        **standings(snapshot),
        "plots": {name: plot for name, run in snapshot.runs.items() if (plot := thumbnail(run))},
    }


def standings(snapshot: Snapshot) -> dict[str, Any]:
    """Return the facets with the standing of each finding, how many have which in words, and the tone of each."""
    entries = [facet_entry(facet, snapshot) for facet in facets()]
    counts = Counter(finding.standing for facet in entries for finding in facet.findings)
    tally = {counted(count, one): tone for one, tone in STANDINGS.items() if (count := counts[one])}
    return {"facets": entries, "tally": tally, "standings": STANDINGS}


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/findings")
    async def page(request: Request) -> Response:
        return await site.show(request, "findings.html", _findings)

    @routes.get("/api/findings", summary="Findings of the paper in seven facets", tags=["findings"])
    async def listed() -> list[FacetEntry]:
        snapshot = await site.results.get()
        return [facet_entry(facet, snapshot) for facet in facets()]

    return routes


PAGE = Page(title="Findings", path="/findings", routes=_routes, export=lambda site: ("/api/findings",))
