"""The front page: the article, which needs no results."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bnlens.claims import TONES, claims
from bnlens.paper import record
from bnlens.render import number
from bnlens.web.article.figures import figures
from bnlens.web.article.states import states
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_LEAD = (
    "A network with batch normalization has a higher training loss than one that normalises with the statistics of all its "
    "data. That gap is a regulariser. A paper gave it a formula; this page computes what it says."
)

_NO_BREAK = "\u00a0"
_LABS = ("/labs/gap?unit=softplus_glm&gamma=1.5&beta=0", "/labs/gap?unit=softplus_glm&gamma=1.2&beta=0.1")


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def article(request: Request) -> Response:
        return site.render(
            request,
            "article.html",
            title="How much does batch normalization regularise?",
            description=_LEAD,
            figures_of=figures(),
            found=states(),
            labs=_LABS,
            number=lambda *values: number(*values).replace(" ", _NO_BREAK),
            number_of_claims=len(claims()),
            paper=record(),
            titles={name: claim.title for name, claim in claims().items()},
            tones=TONES,
        )

    return routes


PAGE = Page(title="Start", path="/", routes=_routes, export=lambda site: _LABS)
