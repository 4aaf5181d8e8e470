"""Requests held to what their address takes: query keys that are known, and an ``Accept`` that can be met."""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bnlens._names import nearest
from bnlens.errors import UsageError

__all__ = ["check_request", "wants_json"]

_JSON_PAGES = ("/paper", "/findings", "/network", "/claims", "/labs")  # with what the API has under the same path


def wants_json(request: Request) -> bool:
    """Whether the answer has to be JSON: an address of the API, or a reader who takes no page."""
    accept = request.headers.get("accept", "*/*").lower()
    is_page_refused = "application/json" in accept and not any(kind in accept for kind in ("text/", "*/*"))
    return request.url.path.startswith("/api/") or is_page_refused


def check_request(request: Request) -> None:
    """Hold a request to its route.

    Raises:
        UsageError: the query has a key that the address does not take.
        HTTPException: 307 to the API for a page that is asked for as JSON; 406 if the API does not have it.
    """
    path, route = request.url.path, request.scope["route"]
    if request.method == "GET" and wants_json(request) and not path.startswith(("/api/", "/static/")):
        if path.startswith(_JSON_PAGES):
            query = f"?{request.url.query}" if request.url.query else ""
            raise HTTPException(307, "JSON of this page is in the API.", {"Location": f"/api{path}{query}"})
        raise HTTPException(406, "This page is HTML alone; /api/openapi.json lists what there is as JSON.")
    known = _known(request, route)
    unknown = [] if known is None else [key for key in request.query_params if key not in known]
    if unknown:
        near = nearest(unknown[0], known or ())
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        hint = f"did you mean {near}" if near else takes
        raise UsageError(f"This address has no parameter {unknown[0][:40]!r}; {hint}.")


def _known(request: Request, route: object) -> list[str] | None:
    """Return the keys that a route takes; None where a model refuses others itself."""
    if not isinstance(route, APIRoute):
        return None
    path = request.url.path
    if path.startswith("/api/labs/"):
        return None
    lab = request.app.state.site.labs.get(path.removeprefix("/labs/"))
    return list(lab.defaults) if lab else [field.alias for field in route.dependant.query_params]
