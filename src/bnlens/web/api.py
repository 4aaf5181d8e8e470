"""The JSON API: every lab at /api/labs/ID, as CSV at /api/labs/ID.csv, its parameters and their ranges in the schema."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from bnlens.web.labs import Lab
from bnlens.web.site import Site

__all__ = ["ErrorAnswer", "router"]


class ErrorAnswer(BaseModel):
    """What is wrong, in one sentence."""

    error: str


class LabEntry(BaseModel):
    """A lab in the list."""

    id: str
    title: str
    question: str
    page: str = Field(description="Address of its page.")
    data: str = Field(description="Address of its numbers.")
    parameters: dict[str, Any] = Field(description="JSON schema of its parameters.")


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


_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorAnswer, "description": "A parameter cannot have this value."},
    503: {"model": ErrorAnswer, "description": "Too many simulations wait, or this one took too long."},
}
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def router(site: Site) -> APIRouter:
    """Return the routes under /api."""
    routes = APIRouter(prefix="/api", tags=["labs"])

    @routes.get("/labs", summary="The labs")
    def labs() -> list[LabEntry]:
        return [_entry(lab) for lab in site.labs.values()]

    for lab in site.labs.values():
        _add_lab(routes, site, lab)
    return routes


def _add_lab(routes: APIRouter, site: Site, lab: Lab) -> None:
    model: Any = lab.model

    async def numbers(state: Any, request: Request) -> LabAnswer:
        answer = await site.answers.get(lab, lab.settle(state.model_dump()), request)
        return LabAnswer(lab=lab.id, state=dict(answer.state), page=lab.path(answer.state), **answer.result.data())

    async def table(state: Any, request: Request) -> Response:
        answer = await site.answers.get(lab, lab.settle(state.model_dump()), request)
        disposition = {"Content-Disposition": f'attachment; filename="bnlens-{lab.id}.csv"'}
        return Response(answer.result.csv(), media_type="text/csv; charset=utf-8", headers=disposition)

    for function in (numbers, table):
        function.__annotations__["state"] = Annotated[model, Query()]
    routes.get(f"/labs/{lab.id}", summary=lab.title, description=lab.question, responses=_ERRORS, name=lab.id)(numbers)
    routes.get(
        f"/labs/{lab.id}.csv",
        summary=f"{lab.title}, CSV",
        description=lab.question,
        responses={**_ERRORS, **_CSV},
        response_class=Response,
        name=f"{lab.id}_csv",
    )(table)


def _entry(lab: Lab) -> LabEntry:
    return LabEntry(
        id=lab.id,
        title=lab.title,
        question=lab.question,
        page=lab.path(),
        data=lab.data_path(lab.defaults),
        parameters=lab.model.model_json_schema(),
    )
