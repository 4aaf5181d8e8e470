"""The JSON API of the citation network, and the works in it for reference managers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi import Path as ApiPath
from pydantic import BaseModel, Field
from starlette.responses import Response

from bnlens.paper import Citation, works
from bnlens.web.api import FileEntry, errors
from bnlens.web.citations import CitationFormat, citation_response
from bnlens.web.labs import NotFoundError
from bnlens.web.networks import Drawing
from bnlens.web.site import Site

__all__ = ["network_page", "router"]

_ERRORS = errors(
    {404: "There is no file or work of that name.", 422: "The file is no citation network, or there is no such format."}
)


class NodeEntry(BaseModel):
    """A work."""

    id: str
    title: str
    authors: list[str]
    year: int | None
    url: str = Field(description="Made of its DOI, arXiv or database identifier; empty without one.")
    role: Literal["paper", "reference", "citation", "other"]
    work: str = Field(description="Its id in the table of works, under /api/works; empty if it is not there.")
    x: float | None = Field(description="Place in the square from -1 to 1, the paper at the origin.")
    y: float | None


class EdgeEntry(BaseModel):
    """A citation."""

    citing: str
    cited: str
    source: str = Field(description="Where it was found, if the network has several sources.")


class NetworkAnswer(BaseModel):
    """A citation network around the paper."""

    file: str = Field(description="Name of the file; empty for the network that comes with bnlens.")
    origin: str
    references: int | None = Field(description="Works that the paper cites, as the source says.")
    citations: int | None = Field(description="Works that cite the paper, as the source says.")
    influential: int | None = Field(description="Influential citations, as the source says.")
    roles: dict[str, int] = Field(description="How many of the works below have each role.")
    notes: list[str]
    nodes: list[NodeEntry]
    edges: list[EdgeEntry]


def network_page(name: str = "") -> str:
    """Return the address of a network's page."""
    return f"/network?{urlencode({'file': name})}" if name else "/network"


def router(site: Site) -> APIRouter:
    """Return the routes for networks and works."""
    routes = APIRouter(prefix="/api", tags=["network"])

    @routes.get("/networks", summary="Files with citation networks")
    def networks() -> list[FileEntry]:
        names = site.networks.names().items()
        return [FileEntry(name=name, label=label, page=network_page(name)) for name, label in names]

    @routes.get("/network", summary="The citation network of the paper", responses=_ERRORS)
    def network(
        file: Annotated[str, Query(max_length=200, description="As /api/networks lists it.")] = "",
    ) -> NetworkAnswer:
        return _answer(file, site.networks.draw(file))

    @routes.get(
        "/works/{work_id}/citation/{form}",
        summary="How to cite a work of the table",
        responses=_ERRORS,
        response_class=Response,
    )
    def citation(
        work_id: Annotated[str, ApiPath(max_length=100, description="Field work of a node.")], form: CitationFormat
    ) -> Response:
        if work_id not in works():
            raise NotFoundError(f"There is no work {work_id!r} in the table.")
        return citation_response(Citation([works()[work_id]]), form, work_id)

    return routes


def _answer(name: str, drawing: Drawing) -> NetworkAnswer:
    network = drawing.network
    places: Mapping[str, tuple[float | None, float | None]] = drawing.places or {}
    return NetworkAnswer(
        file=name,
        origin=network.origin,
        references=network.counts.references,
        citations=network.counts.citations,
        influential=network.counts.influential,
        roles=dict(network.roles().items()),
        notes=[*network.notes, *([drawing.problem] if drawing.problem else [])],
        nodes=[
            NodeEntry(**asdict(node), x=x, y=y)
            for node in network.nodes
            for x, y in [places.get(node.id, (None, None))]
        ],
        edges=[
            EdgeEntry(citing=edge.citing, cited=edge.cited, source=network.sources.get(edge.source, ""))
            for edge in network.edges
        ],
    )
