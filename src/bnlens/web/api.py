"""The JSON API: what all its parts share, and every lab at /api/labs/ID, as CSV at /api/labs/ID.csv, ranges in the schema."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query
from fastapi import Path as ApiPath
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from bnlens.paper import Citation
from bnlens.web.labs.lab import Lab
from bnlens.web.security import MAX_BODY, check_length
from bnlens.web.site import Site

__all__ = [
    "BODY",
    "CITATION_FORMATS",
    "CSV",
    "FORBIDDEN",
    "INVALID",
    "BoundedRoute",
    "CitationFormat",
    "FileEntry",
    "Responses",
    "attachment",
    "citation_response",
    "errors",
    "router",
]

Responses: TypeAlias = dict[int | str, dict[str, Any]]
"""Answers of a route beside its usual one, for the schema."""


class ErrorAnswer(BaseModel):
    """An error, in one sentence."""

    error: str


def errors(sentences: Mapping[int, str]) -> Responses:
    """Return the errors that a route answers with: status -> when."""
    return {status: {"model": ErrorAnswer, "description": sentence} for status, sentence in sentences.items()}


INVALID = errors({422: "That cannot be."})
BODY = errors({400: "The body cannot be read.", 413: "The body is too large."})
FORBIDDEN = errors({403: "The request comes from another site."})
CSV: Responses = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def attachment(text: str, filename: str, media_type: str = "text/csv") -> Response:
    """Return a text as a file that a browser saves."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(text, media_type=f"{media_type}; charset=utf-8", headers=headers)


class BoundedRoute(APIRoute):
    """A route that refuses bodies of more than `MAX_BODY` bytes unread."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            check_length(request, MAX_BODY, f"The request is larger than {MAX_BODY // 2**10} KiB.")
            return await handle(request)

        return bounded


class LabEntry(BaseModel):
    """A lab in the list."""

    id: str
    title: str
    question: str
    page: str = Field(description="Address of its page.")
    data: str = Field(description="Address of its numbers.")
    parameters: dict[str, Any] = Field(description="JSON schema of its parameters.")


class FileEntry(BaseModel):
    """A file in a list."""

    name: str
    label: str
    page: str = Field(description="Address of the page that shows it.")


class Number(BaseModel):
    """One number that answers the question; null where it does not exist or is infinite."""

    id: str
    label: str
    value: float | None
    stderr: float | None
    text: str


class LabAnswer(BaseModel):
    """A lab's answer at one state."""

    lab: str
    state: dict[str, str | int | float | None]
    page: str
    headlines: list[Number]
    rows: list[dict[str, str | int | float | bool | None]]
    notes: list[str]
    python: str


_REPORT: Responses = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}},
    **errors({404: "There is no report of that name.", 422: "The file is damaged."}),
}
_ERRORS = errors(
    {
        404: "A parameter names something that is not here.",
        422: "A parameter cannot have this value.",
        503: "Too many simulations wait, or this one took too long.",
    }
)


def router(site: Site) -> APIRouter:
    """Return the routes under /api."""
    routes = APIRouter(prefix="/api", tags=["labs"])

    @routes.get("/labs", summary="The labs")
    def labs() -> list[LabEntry]:
        entries = []
        for lab in site.labs.values():
            named = {name: getattr(lab, name) for name in ("id", "title", "question")}
            places = {"page": lab.path(), "data": lab.data_path(lab.defaults)}
            entries.append(LabEntry(**named, **places, parameters=lab.model.model_json_schema()))
        return entries

    for lab in site.labs.values():
        _add_lab(routes, site, lab)

    @routes.get("/reports", summary="Saved reports", tags=["reports"])
    def reports() -> list[FileEntry]:
        lab = site.labs["network"]
        names = site.reports.names().items()
        return [FileEntry(name=name, label=label, page=lab.path(lab.read({"report": name}))) for name, label in names]

    @routes.get(
        "/reports/{name:path}",
        summary="One report, as it was saved",
        tags=["reports"],
        responses=_REPORT,
        response_class=Response,
    )
    def report(name: Annotated[str, ApiPath(max_length=200, description="As /api/reports lists it.")]) -> Response:
        site.reports.load(name)  # only what is a report is handed out
        return Response(site.reports.text(name), media_type="application/json")

    return routes


def _add_lab(routes: APIRouter, site: Site, lab: Lab) -> None:
    model: Any = lab.model

    async def numbers(state: Any, request: Request) -> LabAnswer:
        answer = await site.answers.find(lab, lab.settle(state.model_dump()), gone=request.is_disconnected)
        return LabAnswer(lab=lab.id, state=dict(answer.state), page=lab.path(answer.state), **answer.result.data())

    async def table(state: Any, request: Request) -> Response:
        answer = await site.answers.find(lab, lab.settle(state.model_dump()), gone=request.is_disconnected)
        return attachment(answer.result.csv(), f"bnlens-{lab.id}.csv")

    for function in (numbers, table):
        function.__annotations__["state"] = Annotated[model, Query()]
    routes.get(f"/labs/{lab.id}", summary=lab.title, description=lab.question, responses=_ERRORS, name=lab.id)(numbers)
    as_csv: dict[str, Any] = {"summary": f"{lab.title}, CSV", "responses": {**_ERRORS, **CSV}, "name": f"{lab.id}_csv"}
    routes.get(f"/labs/{lab.id}.csv", description=lab.question, response_class=Response, **as_csv)(table)


class CitationFormat(str, Enum):
    """How works are written."""

    text = "text"
    ris = "ris"
    endnote = "endnote"
    bibtex = "bibtex"
    csl = "csl"


CITATION_FORMATS: dict[CitationFormat, tuple[str, str, str]] = {
    CitationFormat.ris: ("RIS", "ris", "application/x-research-info-systems"),
    CitationFormat.endnote: ("EndNote", "enw", "application/x-endnote-refer"),
    CitationFormat.bibtex: ("BibTeX", "bib", "application/x-bibtex"),
    CitationFormat.csl: ("CSL-JSON", "json", "application/vnd.citationstyles.csl+json"),
    CitationFormat.text: ("Text", "txt", "text/plain"),
}
"""Name, ending of the file and media type of each format, in the order of the page."""


def citation_response(citation: Citation, form: CitationFormat, stem: str) -> Response:
    """Return works as a file named ``stem`` that a browser saves."""
    _, ending, media_type = CITATION_FORMATS[form]
    return attachment(citation.to_format(form.value), f"{stem}.{ending}", media_type)
