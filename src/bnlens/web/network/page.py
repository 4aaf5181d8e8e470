"""The citation network: a graph to turn, a list of its works, and files of other networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from starlette.requests import Request
from starlette.responses import Response

from bnlens.errors import BnlensError
from bnlens.paper import Citation, works
from bnlens.web.downloads import CITATION_FORMATS, CitationFormat, citation_response
from bnlens.web.errors import NotFoundError
from bnlens.web.library import add_sending
from bnlens.web.network.drawing import ROLE_WORDS, Drawing, graph
from bnlens.web.network.timeline import WIDTH
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def network_page(name: str = "") -> str:
    """Return the address of a network's page."""
    return f"/network?{urlencode({'file': name})}" if name else "/network"


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/network")
    def network(request: Request, file: str = "") -> Response:
        drawing = site.networks.draw(file)
        return site.render(
            request,
            "network.html",
            title="Citation network",
            description="What the paper cites and what cites it. Choose a work in the graph or in the list to see more of it.",
            network=drawing.network,
            graph=graph(drawing),
            file=file,
            files=site.networks.names(),
            address=network_page,
            role_words=ROLE_WORDS,
            width=WIDTH,
        )

    @routes.get("/api/networks", summary="Files with citation networks", tags=["network"])
    def networks() -> list[dict[str, str]]:
        return site.networks.listed(network_page)

    @routes.get("/api/network", summary="The citation network of the paper, or of a file", tags=["network"])
    def numbers(
        file: Annotated[str, Query(max_length=200, description="As /api/networks lists it.")] = "",
    ) -> dict[str, Any]:
        return {"file": file, **_data(site.networks.draw(file))}

    @routes.get(
        "/api/works/{work_id}/citation/{form}", summary="A work, to cite", tags=["network"], response_class=Response
    )
    def citation(work_id: Annotated[str, InPath(max_length=100)], form: CitationFormat) -> Response:
        if work_id not in works():
            raise NotFoundError(f"There is no work {work_id!r} in the table.")
        return citation_response(Citation([works()[work_id]]), form, work_id)

    add_sending(routes, "/network/send", site.networks, network_page)
    return routes


def _data(drawing: Drawing) -> dict[str, Any]:
    network, places = drawing
    return {
        "origin": network.origin,
        **asdict(network.counts),
        "roles": network.roles(),
        "notes": list(network.notes),
        "nodes": [{**asdict(node), **dict(zip("xy", places[node.id], strict=True))} for node in network.nodes],
        "edges": [{**edge._asdict(), "source": network.sources.get(edge.source, "")} for edge in network.edges],
    }


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
        yield from (f"/api/works/{work}/citation/{form}" for form in CITATION_FORMATS)


PAGE = Page(title="Network", path="/network", routes=_routes, export=_export)
