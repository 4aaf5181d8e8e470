"""The labs: a list of them, and each as a form whose address is its state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import UsageError
from bnlens.render import Html
from bnlens.web.answers import Answer
from bnlens.web.jobs import OverloadedError
from bnlens.web.labs import IncompleteError, Lab, NotFoundError, StateError
from bnlens.web.site import Page, Site
from bnlens.web.uploads import add_sending

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/labs")
    def labs(request: Request) -> Response:
        return site.render(
            request,
            "labs.html",
            title="Labs",
            description="Each lab is one question. Turn its knobs; the address keeps them, so a view can be shared.",
        )

    @routes.get("/labs/{name}")
    async def lab(name: str, request: Request) -> Response:
        if name not in site.labs:
            raise NotFoundError(f"There is no lab {name[:60]!r}; there are {', '.join(site.labs)}.")
        return await _answer(site, site.labs[name], request)

    reports = site.labs["network"]
    add_sending(routes, "/labs/network/send", site.reports, lambda name: reports.path(reports.read({"report": name})))
    return routes


async def _answer(site: Site, lab: Lab, request: Request) -> Response:
    query = dict(request.query_params)
    shown: dict[str, Any] = {name: query.get(name, value) for name, value in lab.defaults.items()}
    try:
        state = lab.read({name: text for name, text in query.items() if name in lab.defaults})
    except StateError as error:
        return await _page(site, lab, request, shown, problems=error.problems, status=422)
    try:
        answer = await site.answers.find(lab, state, gone=request.is_disconnected)
    except IncompleteError as error:
        if error.suggestion and not site.static:
            return RedirectResponse(lab.path({**state, **error.suggestion}), 303)
        return await _page(site, lab, request, state, hint=str(error))
    except UsageError as error:
        status = 404 if isinstance(error, NotFoundError) else 422
        return await _page(site, lab, request, state, problem=str(error), status=status)
    except OverloadedError as error:
        return await _page(site, lab, request, state, problem=str(error), status=503)
    return await _page(site, lab, request, state, answer=answer)


async def _page(
    site: Site,
    lab: Lab,
    request: Request,
    state: Mapping[str, Any],
    *,
    answer: Answer | None = None,
    problems: Mapping[str, str] | None = None,
    problem: str = "",
    hint: str = "",
    status: int = 200,
) -> Response:
    def make(answer: Answer) -> str:
        return site.templates.get_template("_results.html").render(
            lab=lab, answer=answer, result=answer.result, static=site.static
        )

    def render() -> Response:
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
            groups=_groups(lab),
            problems=problems or {},
            problem=problem,
            hint=hint,
            answer=answer,
            results=Html(answer.part("page", make)) if answer else None,
        )

    return await run_in_threadpool(render)


def _groups(lab: Lab) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for parameter in lab.parameters:
        groups.setdefault(parameter.group, []).append(parameter)
    return groups


def _export(site: Site) -> Iterable[str]:
    for lab in site.labs.values():
        yield from (lab.path(state) for state in lab.exported())


PAGE = Page(
    id="labs",
    title="Labs",
    path="/labs",
    summary="Turn the knobs of the theory and see curve and simulation side by side.",
    routes=_routes,
    export=_export,
)
