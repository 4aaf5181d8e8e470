"""Receives a report file and shows it in the lab."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import UsageError
from bnlens.web.pages._page import Page
from bnlens.web.reports import MAX_BYTES
from bnlens.web.security import check_token
from bnlens.web.site import Site

__all__ = ["PAGE"]

_ENVELOPE = 8192  # what a form adds to its file


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.post("/labs/network/send")
    async def send(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BYTES + _ENVELOPE:
            raise HTTPException(413, f"The file is larger than {MAX_BYTES // 2**20} MiB; a report is smaller.")
        async with request.form(max_files=1, max_fields=4) as form:
            check_token(request, form.get("token"))
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise UsageError("No file was sent: choose one.")
            content, label = await file.read(), file.filename or "report"
        name = await run_in_threadpool(site.reports.add, content, label)
        lab = site.labs["network"]
        return RedirectResponse(lab.path(lab.read({"report": name})), 303)

    return routes


PAGE = Page(
    id="sent", title="Send a report", path="/labs/network/send", routes=_routes, listed=False, exported_path=False
)
