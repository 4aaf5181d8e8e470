"""The run that goes on, for readers without scripts, and the form that cancels it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.web.claims.entries import run_entry
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/runs")
    def runs(request: Request) -> Response:
        lead = "What was started from these pages. One claim runs at a time, at scale quick."
        entries = [run_entry(run) for run in site.runs.all]
        return site.render(request, "runs.html", title="Runs", description=lead, entries=entries)

    @routes.post("/runs/cancel")
    def cancel() -> Response:
        site.runs.cancel()
        return RedirectResponse("/runs", 303)

    return routes


PAGE = Page(id="runs", title="Runs", path="/runs", routes=_routes, listed=False, exported_path=False)
