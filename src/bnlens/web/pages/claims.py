"""The claims: a list of them, each in full, and the form that runs one."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.citing import cite
from bnlens.claims import Claim, StoredRun, claim_body
from bnlens.render import Html
from bnlens.web.citations import CITATION_FORMATS
from bnlens.web.claims_api import find_claim
from bnlens.web.entries import claim_entry
from bnlens.web.results import Snapshot
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/claims")
    async def claims(request: Request) -> Response:
        snapshot = await site.results.get()

        def render() -> Response:
            return site.render(
                request,
                "claims.html",
                title="Claims",
                description=(
                    "Every statement that is checked here, with its verdict. What agreement means was written down before the "
                    "result was looked at."
                ),
                entries=[claim_entry(claim, snapshot) for claim in snapshot.claims.values()],
                problem=snapshot.problem,
            )

        return await run_in_threadpool(render)

    @routes.get("/claims/{claim_id}")
    async def claim(claim_id: str, request: Request) -> Response:
        snapshot = await site.results.get()
        return await run_in_threadpool(_claim, site, request, find_claim(snapshot, claim_id), snapshot)

    @routes.post("/claims/{claim_id}/run")
    async def run(claim_id: str) -> Response:
        found = find_claim(await site.results.get(), claim_id)
        await run_in_threadpool(site.runs.start, found)
        return RedirectResponse("/runs", 303)

    return routes


def _claim(site: Site, request: Request, claim: Claim, snapshot: Snapshot) -> Response:
    stored = snapshot.runs.get(claim.id)
    return site.render(
        request,
        "claim.html",
        title=f"{claim.id}. {claim.title}",
        figures=True,
        entry=claim_entry(claim, snapshot),
        body=_body(site, stored) if stored and stored.is_complete else None,
        works=cite(claim),
        formats=CITATION_FORMATS,
        problem=snapshot.problem,
    )


def _body(site: Site, stored: StoredRun) -> Html:
    claim = stored.run.claim
    downloads = site.templates.get_template("_claim_downloads.html").render(claim=claim)
    return claim_body(stored.run, stored.scale, downloads=Html(downloads))


def _export(site: Site) -> Iterable[str]:
    yield "/api/claims"
    for claim in site.results.register().values():
        yield f"/claims/{claim.id}"
        yield f"/api/claims/{claim.id}"
        yield f"/api/claims/{claim.id}/table.csv"
        yield from (f"/api/claims/{claim.id}/citation/{form.value}" for form in CITATION_FORMATS)


PAGE = Page(
    id="claims",
    title="Claims",
    path="/claims",
    summary="The statements behind the findings: figure, table, verdict, and what agreement means.",
    routes=_routes,
    export=_export,
)
