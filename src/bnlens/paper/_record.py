"""The record of the paper: identifiers, dates, categories, people, and a summary in our words."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from bnlens.paper._csl import CslItem
from bnlens.paper._data import load

__all__ = ["PageFacts", "Paper", "record"]


@dataclass(frozen=True)
class PageFacts:
    """Facts from the public page of the paper when it was read; none of them is computed here.

    Attributes:
        references: works that the paper cites.
        influential: influential citations of the paper.
        terms: key term -> weight, heaviest first.
    """

    references: int
    influential: int
    terms: Mapping[str, float]


@dataclass(frozen=True)
class Paper:
    """The paper that this library implements and checks.

    Attributes:
        id: id of its record, which is its BibTeX key too.
        title: as published.
        authors: full names, in order.
        venue: conference and year, short.
        year: year of the conference.
        arxiv: arXiv identifier.
        openreview: OpenReview identifier.
        versions: number of an arXiv version -> its date; versions whose date is not known here are left out.
        categories: of arXiv, the primary one first.
        license: address of the licence under which arXiv distributes it.
        comments: as on arXiv.
        summary: one sentence, in our words.
        digest: the abstract retold in our words, one string per paragraph.
        page: numbers of the paper's public page.
        csl: the record for citing, CSL-JSON.
    """

    id: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    arxiv: str
    openreview: str
    versions: Mapping[int, date]
    categories: tuple[str, ...]
    license: str
    comments: str
    summary: str
    digest: tuple[str, ...]
    page: PageFacts
    csl: Mapping[str, Any]

    @property
    def primary_category(self) -> str:
        """The first of the categories."""
        return self.categories[0]

    @property
    def abstract_url(self) -> str:
        """The page of the abstract on arXiv."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def pdf_url(self) -> str:
        """The PDF on arXiv."""
        return f"https://arxiv.org/pdf/{self.arxiv}"

    @property
    def openreview_url(self) -> str:
        """The page of the conference paper with its reviews."""
        return f"https://openreview.net/forum?id={self.openreview}"


@functools.cache
def record() -> Paper:
    """Return the record of the paper.

    >>> paper = record()
    >>> paper.arxiv, paper.primary_category, paper.versions[1].isoformat()
    ('1809.00846', 'cs.LG', '2018-09-04')
    """
    data = load("paper")
    facts = data.pop("custom")
    item = CslItem(data)
    year = item.date().year
    assert year is not None  # noqa: S101 - the packaged record has one
    page = facts["page"]
    return Paper(
        id=item.text("id"),
        title=item.text("title"),
        authors=tuple(f"{name.given} {name.last}" for name in item.names("author")),
        year=year,
        versions=MappingProxyType({int(n): date.fromisoformat(day) for n, day in facts["versions"].items()}),
        categories=tuple(facts["categories"]),
        **{name: facts[name] for name in ("venue", "arxiv", "openreview", "license", "comments", "summary")},
        digest=tuple(facts["digest"]),
        page=PageFacts(page["references"], page["influential"], MappingProxyType(page["terms"])),
        csl=MappingProxyType(data),
    )
