"""The JSON API of the paper's record and key terms, of its citation network, and of works for reference managers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi import Path as ApiPath
from pydantic import BaseModel, Field
from starlette.responses import Response

from bnlens._plain import plain
from bnlens.citing import cite
from bnlens.paper import Citation, compare_terms, record, term_weights, works
from bnlens.web.api import CitationFormat, FileEntry, citation_response, errors
from bnlens.web.errors import NotFoundError
from bnlens.web.network.drawing import Drawing
from bnlens.web.site import Site

__all__ = ["PaperAnswer", "network_page", "paper_answer", "router"]

_SHOWN = 12


class Term(BaseModel):
    """A key term."""

    term: str
    weight: float


class Terms(BaseModel):
    """Key terms found here beside those of the paper's public page."""

    found: list[Term] = Field(description="Ours, heaviest first, from our summary and digest.")
    public: list[Term] = Field(description="Those of the public page.")
    overlap: int = Field(description="How many of theirs are among as many of our heaviest.")
    spearman: float | None = Field(description="Rank correlation of the weights of their terms.")
    kendall: float | None


class PaperAnswer(BaseModel):
    """The paper's record."""

    id: str
    title: str
    authors: list[str]
    venue: str
    year: int
    arxiv: str
    openreview: str
    versions: dict[int, str] = Field(description="arXiv version -> date; those whose date is not known are left out.")
    categories: list[str]
    license: str
    comments: str
    summary: str
    digest: list[str] = Field(description="The abstract retold in our words.")
    abstract_url: str
    pdf_url: str
    openreview_url: str
    references: int = Field(description="Works that the paper cites, as its public page says.")
    influential: int = Field(description="Influential citations, as its public page says.")
    terms: Terms


@functools.cache
def paper_answer() -> PaperAnswer:
    """Return the record as the API hands it out."""
    paper, weights = record(), term_weights()
    comparison = compare_terms(weights)
    differing = ("versions", "references", "influential", "terms")
    return PaperAnswer(
        **{name: getattr(paper, name) for name in PaperAnswer.model_fields if name not in differing},
        versions={number: day.isoformat() for number, day in paper.versions.items()},
        references=paper.page.references,
        influential=paper.page.influential,
        terms=Terms(
            found=[Term(term=term, weight=weight) for term, weight in list(weights.items())[:_SHOWN]],
            public=[Term(term=term, weight=weight) for term, weight in paper.page.terms.items()],
            overlap=comparison.overlap,
            spearman=plain(comparison.spearman),
            kendall=plain(comparison.kendall),
        ),
    )


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
    """Return the routes for the paper, networks and works."""
    routes = APIRouter(prefix="/api")

    @routes.get("/paper", summary="The paper: identifiers, dates, summary, key terms", tags=["paper"])
    def paper() -> PaperAnswer:
        return paper_answer()

    @routes.get(
        "/paper/citation/{form}",
        summary="How to cite the paper, for reference managers",
        tags=["paper"],
        responses=errors({422: "There is no such format."}),
        response_class=Response,
    )
    def citation(form: CitationFormat) -> Response:
        return citation_response(cite(), form, "luo2019towards")

    @routes.get("/networks", summary="Files with citation networks", tags=["network"])
    def networks() -> list[FileEntry]:
        names = site.networks.names().items()
        return [FileEntry(name=name, label=label, page=network_page(name)) for name, label in names]

    @routes.get("/network", summary="The citation network of the paper", tags=["network"], responses=_ERRORS)
    def network(
        file: Annotated[str, Query(max_length=200, description="As /api/networks lists it.")] = "",
    ) -> NetworkAnswer:
        return _answer(file, site.networks.draw(file))

    @routes.get(
        "/works/{work_id}/citation/{form}",
        summary="How to cite a work of the table",
        tags=["network"],
        name="citation",
        responses=_ERRORS,
        response_class=Response,
    )
    def work_citation(
        work_id: Annotated[str, ApiPath(max_length=100, description="Field work of a node.")], form: CitationFormat
    ) -> Response:
        if work_id not in works():
            raise NotFoundError(f"There is no work {work_id!r} in the table.")
        return citation_response(Citation([works()[work_id]]), form, work_id)

    return routes


def _answer(name: str, drawing: Drawing) -> NetworkAnswer:
    network = drawing.network
    places: Mapping[str, tuple[float | None, float | None]] = drawing.places or {}
    placed = [(node, *places.get(node.id, (None, None))) for node in network.nodes]
    return NetworkAnswer(
        file=name,
        origin=network.origin,
        **{name: getattr(network.counts, name) for name in ("references", "citations", "influential")},
        roles=dict(network.roles().items()),
        notes=[*network.notes, *([drawing.problem] if drawing.problem else [])],
        nodes=[NodeEntry(**asdict(node), x=x, y=y) for node, x, y in placed],
        edges=[
            EdgeEntry(citing=e.citing, cited=e.cited, source=network.sources.get(e.source, "")) for e in network.edges
        ],
    )
