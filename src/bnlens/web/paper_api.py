"""The JSON API of the paper's record, its citations and its key terms."""

from __future__ import annotations

import functools

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from bnlens._plain import plain
from bnlens.citing import cite
from bnlens.paper import KeyTerm, TermComparison, compare_terms, record, term_weights
from bnlens.web.api import errors
from bnlens.web.citations import CitationFormat, citation_response

__all__ = ["PaperAnswer", "paper_answer", "router", "terms"]

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


def router() -> APIRouter:
    """Return the routes for the paper."""
    routes = APIRouter(prefix="/api/paper", tags=["paper"])

    @routes.get("", summary="The paper: identifiers, dates, summary, key terms")
    def paper() -> PaperAnswer:
        return paper_answer()

    @routes.get(
        "/citation/{form}",
        summary="How to cite the paper, for reference managers",
        responses=errors({422: "There is no such format."}),
        response_class=Response,
    )
    def citation(form: CitationFormat) -> Response:
        return citation_response(cite(), form, "luo2019towards")

    return routes


@functools.cache
def terms() -> tuple[list[KeyTerm], TermComparison]:
    """Return our key terms, and their comparison with the public page's."""
    weights = term_weights()
    found = [KeyTerm(term, weight) for term, weight in list(weights.items())[:_SHOWN]]
    return found, compare_terms(weights)


def paper_answer() -> PaperAnswer:
    """Return the record as the API hands it out."""
    paper = record()
    found, comparison = terms()
    differing = ("versions", "references", "influential", "terms")
    return PaperAnswer(
        **{name: getattr(paper, name) for name in PaperAnswer.model_fields if name not in differing},
        versions={number: day.isoformat() for number, day in paper.versions.items()},
        references=paper.page.references,
        influential=paper.page.influential,
        terms=Terms(
            found=[Term(term=found_term.term, weight=found_term.weight) for found_term in found],
            public=[Term(term=term, weight=weight) for term, weight in paper.page.terms.items()],
            overlap=comparison.overlap,
            spearman=plain(comparison.spearman),
            kendall=plain(comparison.kendall),
        ),
    )
