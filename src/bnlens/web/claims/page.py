"""The claims: a list of them, each in full, and the form that runs one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens import render
from bnlens.citing import cite
from bnlens.claims import Claim, StoredRun
from bnlens.render import Html
from bnlens.web.api import CITATION_FORMATS
from bnlens.web.claims.api import find_claim
from bnlens.web.claims.entries import claim_entry
from bnlens.web.claims.results import Snapshot
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_SUMMARY = "The statements behind the findings: figure, table, verdict, and what agreement means."


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/claims/{claim_id}")
    async def claim(claim_id: str, request: Request) -> Response:
        return await site.show(request, "claim.html", lambda snapshot: _claim(find_claim(snapshot, claim_id), snapshot))

    @routes.post("/claims/{claim_id}/run")
    async def run(claim_id: str) -> Response:
        found = find_claim(await site.results.get(), claim_id)
        await run_in_threadpool(site.runs.start, found)
        return RedirectResponse("/runs", 303)

    return routes


def _claims(snapshot: Snapshot) -> dict[str, Any]:
    lead = (
        "Every statement that is checked here, with its verdict. What agreement means was written down before the result "
        "was looked at."
    )
    entries = [claim_entry(claim, snapshot) for claim in snapshot.claims.values()]
    return {"title": "Claims", "description": lead, "entries": entries}


def _claim(claim: Claim, snapshot: Snapshot) -> dict[str, Any]:
    stored = snapshot.runs.get(claim.id)
    return {
        "title": f"{claim.id}. {claim.title}",
        "figures": True,
        "entry": claim_entry(claim, snapshot),
        "finding": stored.run.finding if stored else None,
        "figure": _figure(stored) if stored else None,
        "works": cite(claim),
        "formats": CITATION_FORMATS,
    }


def _figure(stored: StoredRun) -> Html | None:
    claim, finding, figure = stored.run.claim, stored.run.finding, stored.run.figure
    if finding is None or figure is None:
        return None
    caption = f"Figure {claim.id}. {claim.title}, computed at scale {stored.scale}."
    return render.figure(figure, caption=caption, label=f"Figure {claim.id}, {claim.title}. {finding.summary}")


def _export(site: Site) -> Iterable[str]:
    yield "/api/claims"
    for claim in site.results.register().values():
        yield f"/claims/{claim.id}"
        yield f"/api/claims/{claim.id}"
        yield f"/api/claims/{claim.id}/table.csv"
        yield from (f"/api/claims/{claim.id}/citation/{form.value}" for form in CITATION_FORMATS)


PAGE = Page(
    id="claims", title="Claims", path="/claims", summary=_SUMMARY, context=_claims, routes=_routes, export=_export
)
