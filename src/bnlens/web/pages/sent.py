"""Receives a report file and shows it in the lab."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.web.reports import MAX_BYTES
from bnlens.web.site import Page, Site
from bnlens.web.uploads import sent_file

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.post("/labs/network/send")
    async def send(request: Request) -> Response:
        content, label = await sent_file(request, MAX_BYTES, "a report")
        name = await run_in_threadpool(site.reports.add, content, label)
        lab = site.labs["network"]
        return RedirectResponse(lab.path(lab.read({"report": name})), 303)

    return routes


PAGE = Page(
    id="sent", title="Send a report", path="/labs/network/send", routes=_routes, listed=False, exported_path=False
)
