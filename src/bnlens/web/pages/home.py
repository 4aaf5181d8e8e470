"""The front page: what this is, and where to begin."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bnlens.web.pages._page import Page
from bnlens.web.site import Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def home(request: Request) -> Response:
        return site.render(
            request,
            "home.html",
            title="How much does batch normalization regularise?",
            description=(
                "A network that normalises with the statistics of M samples has a higher training loss than with those of "
                "the population. That gap is a regulariser, and it can be measured, predicted and set."
            ),
        )

    return routes


PAGE = Page(id="home", title="Start", path="/", routes=_routes)
