"""The JSON API of findings, claims and runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as ApiPath
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bnlens._plain import csv_text
from bnlens.citing import cite
from bnlens.claims import Claim, named_claims
from bnlens.web.api import (
    BODY,
    CSV,
    FORBIDDEN,
    INVALID,
    BoundedRoute,
    CitationFormat,
    Responses,
    attachment,
    citation_response,
    errors,
)
from bnlens.web.claims.entries import (
    ClaimAnswer,
    ClaimEntry,
    FacetEntry,
    RunEntry,
    claim_answer,
    claim_entry,
    facet_entry,
    run_entry,
)
from bnlens.web.claims.findings import facets
from bnlens.web.claims.results import Snapshot
from bnlens.web.errors import NotFoundError
from bnlens.web.site import Site

__all__ = ["find_claim", "router"]

_POLL = 0.2  # seconds between looks at the state of a run
_ALIVE = 15.0  # seconds after which a silent stream says that it is still there
_MISSING = {**errors({404: "There is no such claim."}), **INVALID}
_NO_RUN = errors({404: "No run was started yet."})
_STREAM: Responses = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Events named `run`, each with a run as JSON; the stream ends with the run.",
    }
}

ClaimId = Annotated[
    str, ApiPath(max_length=20, pattern=r"^[A-Za-z]+\d+[A-Za-z]?$", description="Id of a claim, such as D1.")
]


class Order(BaseModel):
    """A claim to compute."""

    model_config = ConfigDict(extra="forbid")

    claim: str = Field(max_length=20, description="Id of a claim, such as D1; it is computed at scale quick.")


def find_claim(snapshot: Snapshot, claim_id: str) -> Claim:
    """Return a claim; upper and lower case are the same.

    Raises:
        NotFoundError: there is none of that id.
    """
    named = named_claims(claim_id, snapshot.claims.values())
    if len(named) != 1:
        near = f"its parts {' and '.join(claim.id for claim in named)}" if named else ", ".join(snapshot.claims)
        raise NotFoundError(f"There is no claim {claim_id[:20]!r}; there are {near}.")
    return named[0]


def router(site: Site) -> APIRouter:
    """Return the routes for findings, claims and runs."""
    routes = APIRouter(prefix="/api", route_class=BoundedRoute)
    judged = APIRouter(prefix="/claims", tags=["claims"], route_class=BoundedRoute)
    started = APIRouter(prefix="/runs", tags=["runs"], route_class=BoundedRoute)

    @routes.get("/findings", summary="Findings of the paper in seven facets", tags=["findings"])
    async def findings() -> list[FacetEntry]:
        snapshot = await site.results.get()
        return [facet_entry(facet, snapshot) for facet in facets()]

    @judged.get("", summary="The claims, each with its newest run")
    async def claims() -> list[ClaimEntry]:
        snapshot = await site.results.get()
        return [claim_entry(claim, snapshot) for claim in snapshot.claims.values()]

    @judged.get("/{claim_id}", summary="One claim in full", responses=_MISSING)
    async def claim(claim_id: ClaimId) -> ClaimAnswer:
        snapshot = await site.results.get()
        return claim_answer(find_claim(snapshot, claim_id), snapshot)

    @judged.get(
        "/{claim_id}/table.csv",
        summary="The table behind a verdict, CSV",
        responses={**_MISSING, **CSV},
        response_class=Response,
    )
    async def table(claim_id: ClaimId) -> Response:
        snapshot = await site.results.get()
        found = find_claim(snapshot, claim_id)
        stored = snapshot.runs.get(found.id)
        if stored is None or stored.run.finding is None:
            raise NotFoundError(f"{found.id} has not been judged in this folder: run it first.")
        return attachment(csv_text(stored.run.finding.rows), f"bnlens-{found.id.lower()}.csv")

    @judged.get(
        "/{claim_id}/citation/{form}",
        summary="The paper and the works behind a claim, for reference managers",
        responses=_MISSING,
        response_class=Response,
    )
    async def citation(claim_id: ClaimId, form: CitationFormat) -> Response:
        found = find_claim(await site.results.get(), claim_id)
        return citation_response(cite(found), form, f"bnlens-{found.id.lower()}")

    def current() -> RunEntry:
        run = site.runs.current
        if run is None:
            raise NotFoundError("No run was started yet.")
        return run_entry(run)

    @started.get("", summary="The runs that were started here, newest first")
    async def runs() -> list[RunEntry]:
        return [run_entry(run) for run in site.runs.all]

    @started.post(
        "",
        summary="Start a run of a claim at scale quick",
        description="One run at a time.",
        status_code=202,
        responses={**_MISSING, **FORBIDDEN, **BODY, **errors({409: "Another run is going on."})},
    )
    async def start(order: Order) -> RunEntry:
        claim = find_claim(await site.results.get(), order.claim)
        return run_entry(await run_in_threadpool(site.runs.start, claim))

    @started.get("/current", summary="The run that goes on, else the last one", responses=_NO_RUN)
    async def now() -> RunEntry:
        return current()

    @started.delete(
        "/current",
        summary="Cancel the run that goes on",
        description="Jobs that have finished stay stored.",
        responses={**_NO_RUN, **INVALID, **FORBIDDEN},
    )
    async def cancel() -> RunEntry:
        await run_in_threadpool(site.runs.cancel)
        return current()

    @started.get(
        "/events",
        summary="Progress of the current run as server-sent events",
        responses={**_STREAM, **_NO_RUN},
        response_class=StreamingResponse,
    )
    async def events(request: Request) -> StreamingResponse:
        current()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(site, request), media_type="text/event-stream", headers=headers)

    routes.include_router(judged)
    routes.include_router(started)
    return routes


async def _events(site: Site, request: Request) -> AsyncIterator[str]:
    version = -1
    silent = 0.0
    while not site.runs.stopping:
        run, now = site.runs.current, site.runs.version
        if run is not None and now != version:
            version, silent = now, 0.0
            entry = run_entry(run)
            yield f"event: run\ndata: {json.dumps(entry.model_dump())}\n\n"
            if entry.status != "running":
                return
        elif silent >= _ALIVE:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(_POLL)
        silent += _POLL
        if await request.is_disconnected():
            return
