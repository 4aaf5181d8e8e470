"""The citation network: a graph to turn, a list of its works, and files of other networks."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bnlens.errors import BnlensError
from bnlens.web.api import CITATION_FORMATS
from bnlens.web.library import add_sending
from bnlens.web.network.drawing import HEIGHT, ROLE_WORDS, WIDTH, NetworkLibrary, graph
from bnlens.web.paper.api import network_page
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_SUMMARY = "The works that the paper cites and that cite it, as a graph to search and turn."


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/network")
    def network(request: Request, file: str = "") -> Response:
        drawing = site.networks.draw(file)
        return site.render(
            request,
            "network.html",
            title="Citation network",
            description="What the paper cites and what cites it. Choose a work in the graph or in the list to see more of it.",
            drawing=drawing,
            network=drawing.network,
            graph=graph(drawing),
            file=file,
            files=site.networks.names(),
            address=network_page,
            formats=CITATION_FORMATS,
            role_words=ROLE_WORDS,
            size=(WIDTH, HEIGHT),
            max_mib=NetworkLibrary.max_bytes // 2**20,
        )

    add_sending(routes, "/network/send", site.networks, network_page)
    return routes


def _export(site: Site) -> Iterable[str]:
    works: dict[str, None] = {}
    for name in ("", *site.networks.names()):
        try:
            nodes = site.networks.draw(name).network.nodes
        except BnlensError:  # its page would say what is wrong with the file; nothing else should stop for that
            continue
        yield network_page(name)
        works |= dict.fromkeys(node.work for node in nodes if node.work)
    yield from ("/api/network", "/api/networks")
    for work in works:
        yield from (f"/api/works/{work}/citation/{form.value}" for form in CITATION_FORMATS)


PAGE = Page(id="network", title="Network", path="/network", summary=_SUMMARY, routes=_routes, export=_export)
