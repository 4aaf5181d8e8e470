"""The application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pandas  # noqa: F401 - before any thread draws: plotly uses one that another thread has half imported
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

import bnlens
from bnlens.claims import claims
from bnlens.errors import BnlensError
from bnlens.labs.network import make_lab
from bnlens.web import assets
from bnlens.web.asked import check_request, wants_json
from bnlens.web.claims.results import Register, Results
from bnlens.web.claims.runs import Runs
from bnlens.web.connections import PatientBody
from bnlens.web.errors import GoneError
from bnlens.web.labs.answers import Answers
from bnlens.web.labs.lab import LABS, Lab
from bnlens.web.library import ReportLibrary
from bnlens.web.network.drawing import NetworkLibrary
from bnlens.web.notes.store import Notes
from bnlens.web.pages import PAGES
from bnlens.web.security import Guard, allowed_names
from bnlens.web.site import Site
from bnlens.web.slow import Limits

__all__ = ["create_app"]

_log = logging.getLogger("bnlens.web")
_SMALL = 1024  # bytes, below which an answer is sent as it is: it is one packet either way


def create_app(
    folder: str | Path = "bnlens-out",
    *,
    host: str = "127.0.0.1",
    names: Iterable[str] = (),
    limits: Limits | None = None,
    static: bool = False,
    register: Register = claims,
) -> FastAPI:
    """Return the application; its `Site` is ``app.state.site``.

    Args:
        folder: where `bnlens reproduce` writes and saved reports lie; it need not exist.
        host: address the server is bound to; requests for another Host are refused.
        names: further host names under which it may be asked for.
        limits: how much expensive requests may take.
        static: whether its pages are to be written to files.
        register: returns the claims by id; a function of a module, which the process of a run imports by name.
    """
    reports = ReportLibrary(Path(folder))
    site = Site(
        labs={lab.id: lab for lab in (*LABS, Lab.of(make_lab(reports)))},
        reports=reports,
        networks=NetworkLibrary(Path(folder)),
        notes=Notes(Path(folder)),
        pages=PAGES,
        answers=Answers(limits or Limits()),
        results=Results(Path(folder), register),
        runs=Runs(Path(folder), register),
        static=static,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await site.runs.cancel()

    app = FastAPI(
        title="bnlens",
        version=bnlens.__version__,
        description="The paper, its citation network, findings and claims, runs, notes, and the labs, to read as JSON and CSV.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=_ERRORS,
        lifespan=lifespan,
        dependencies=[Depends(check_request)],
    )
    app.state.site = site
    app.include_router(assets.router())
    for page in site.pages:
        app.include_router(page.router(site))
    app.get("/api/docs", include_in_schema=False)(lambda: RedirectResponse("/api/openapi.json"))
    _handle_errors(app, site)
    app.add_middleware(GZipMiddleware, minimum_size=_SMALL, compresslevel=6)
    app.add_middleware(PatientBody)
    app.add_middleware(Guard, names=allowed_names(host) | {name.lower() for name in names})
    return app


def _handle_errors(app: FastAPI, site: Site) -> None:
    def answer(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        if wants_json(request):
            return JSONResponse({"error": sentence}, status, headers)
        title = _TITLES.get(status, "That did not work")
        return site.render(request, "error.html", title=title, status=status, headers=headers, sentence=sentence)

    @app.exception_handler(BnlensError)
    def own(request: Request, error: BnlensError) -> Response:
        status = getattr(error, "status", 422)
        return answer(request, status, str(error), {"Retry-After": "30"} if status == 503 else None)

    @app.exception_handler(ClientDisconnect)
    def gone(request: Request, error: ClientDisconnect) -> Response:
        _log.warning("%s %s was broken off by the reader", request.method, request.url.path)
        return Response(status_code=GoneError.status)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        lab = site.labs.get(request.url.path.removeprefix("/api/labs/").removesuffix(".csv"))
        if lab is not None:
            return answer(request, 422, " ".join(lab.sentences(error.errors()).values()))
        first = error.errors()[0]
        return answer(request, 422, f"{'.'.join(map(str, first['loc'][1:])) or 'The request'}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        missing = f"There is no page {request.url.path[:200]!r} here."
        sentences = {404: missing, 405: f"{request.method} does not work here."}
        headers = dict(error.headers) if error.headers else None
        return answer(request, error.status_code, sentences.get(error.status_code, str(error.detail)), headers)

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> Response:
        return answer(request, 500, "This is a fault of bnlens, not yours; the terminal that runs it says more.")


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
    for status, text in {404: "Not there.", 422: "That cannot be.", 503: "Too busy."}.items()
}
_TITLES = {404: "Not found", 405: "Not here", 409: "Not now", 413: "Too large", 422: "That cannot be"}
_TITLES |= {500: "A fault", 503: "Too busy"}
