"""The labs: a list of them, and each as a form whose address is its state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import UsageError
from bnlens.labs import IncompleteError, StateError
from bnlens.web.downloads import attachment
from bnlens.web.errors import NotFoundError, OverloadedError
from bnlens.web.labs.claims import claims_of
from bnlens.web.labs.lab import Lab
from bnlens.web.library import add_sending
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/labs")
    def labs(request: Request) -> Response:
        lead = "Each lab is one question. Turn its knobs; the address keeps them, so a view can be shared."
        return site.render(request, "labs.html", title="Labs", description=lead)

    @routes.get("/labs/{name}")
    async def lab(name: str, request: Request) -> Response:
        if name not in site.labs:
            raise NotFoundError(f"There is no lab {name[:60]!r}; there are {', '.join(site.labs)}.")
        return await _answer(site, site.labs[name], request)

    @routes.get("/api/labs", summary="The labs, each with the JSON schema of its parameters", tags=["labs"])
    def listed() -> list[dict[str, Any]]:
        return [
            {
                **{name: getattr(lab, name) for name in ("id", "title", "question")},
                "page": lab.path(),
                "data": lab.data_path(lab.defaults),
                "parameters": lab.model.model_json_schema(),
            }
            for lab in site.labs.values()
        ]

    for each in site.labs.values():
        _add_numbers(routes, site, each)

    @routes.get("/api/reports", summary="Saved reports", tags=["reports"])
    def saved() -> list[dict[str, str]]:
        return site.reports.listed(lambda name: reports.path(reports.read({"report": name})))

    @routes.get("/api/reports/{name:path}", summary="One report", tags=["reports"])
    def report(name: Annotated[str, InPath(max_length=200)]) -> Response:
        return Response(site.reports.load(name).to_json(), media_type="application/json")

    reports = site.labs["network"]
    add_sending(routes, "/labs/network/send", site.reports, lambda name: reports.path(reports.read({"report": name})))
    return routes


def _add_numbers(routes: APIRouter, site: Site, lab: Lab) -> None:
    model: Any = lab.model

    async def numbers(state: Any, request: Request) -> dict[str, Any]:
        settled = lab.settle(state.model_dump())
        result = await site.answers.find(lab, settled, gone=request.is_disconnected)
        return {"lab": lab.id, "state": dict(settled), "page": lab.path(settled), **result.data()}

    async def table(state: Any, request: Request) -> Response:
        result = await site.answers.find(lab, lab.settle(state.model_dump()), gone=request.is_disconnected)
        return attachment(result.csv(), f"bnlens-{lab.id}.csv")

    for function in (numbers, table):
        function.__annotations__["state"] = Annotated[model, Query()]
    about: dict[str, Any] = {"description": lab.question, "tags": ["labs"]}
    routes.get(f"/api/labs/{lab.id}", summary=lab.title, name=lab.id, **about)(numbers)
    csv: dict[str, Any] = {"response_class": Response, "name": f"{lab.id}_csv", **about}
    routes.get(f"/api/labs/{lab.id}.csv", summary=f"{lab.title}, CSV", **csv)(table)


async def _answer(site: Site, lab: Lab, request: Request) -> Response:
    query = dict(request.query_params)
    state: Mapping[str, Any] = {name: query.get(name, value) for name, value in lab.defaults.items()}
    found: dict[str, Any] = {}
    status = 200
    try:
        state = lab.read({name: text for name, text in query.items() if name in lab.defaults})
        found["result"] = await site.answers.find(lab, state, gone=request.is_disconnected)
    except StateError as error:
        found["problems"], status = error.problems, 422
    except IncompleteError as error:
        if error.suggestion and not site.static:
            return RedirectResponse(lab.path({**state, **error.suggestion}), 303)
        found["hint"] = str(error)
    except UsageError as error:
        found["problem"], status = str(error), 404 if isinstance(error, NotFoundError) else 422
    except OverloadedError as error:
        found["problem"], status = str(error), 503
    return await run_in_threadpool(_page, site, lab, request, state, found, status)


def _page(
    site: Site, lab: Lab, request: Request, state: Mapping[str, Any], found: Mapping[str, Any], status: int
) -> Response:
    groups = dict.fromkeys(parameter.group for parameter in lab.parameters)
    return site.render(
        request,
        "lab.html",
        title=lab.title,
        description=lab.question,
        status=status,
        headers={"Retry-After": "30"} if status == 503 else None,
        figures=True,
        lab=lab,
        state=state,
        claims=claims_of(lab.id),
        lacking=lab.lacking(state) if "result" in found else {},
        groups={group: [p.at(state) for p in lab.parameters if p.group == group] for group in groups},
        **{"result": None, "problems": {}, "problem": "", "hint": "", **found},
    )


def _export(site: Site) -> Iterable[str]:
    for lab in site.labs.values():
        for state in lab.exported():
            yield from (lab.path(state), lab.data_path(state), lab.data_path(state, "csv"))


PAGE = Page(title="Labs", path="/labs", routes=_routes, export=_export)
