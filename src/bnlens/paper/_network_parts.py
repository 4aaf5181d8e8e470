"""Steps that the readers of all exports have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnlens.paper._csl import clean
from bnlens.paper._network import Counts, Edge, Network, Node, csl_node, known_work, make_network, plausible_year
from bnlens.paper._record import record

__all__ = ["find_paper", "join", "list_of", "mapping_of", "new_node", "text_of", "title_id", "whole"]


def text_of(value: object) -> str:
    """Return a text field as one clean line; empty if it is none."""
    return clean(value) if isinstance(value, str) else ""


def list_of(value: object) -> Sequence[Any]:
    """Return a list field; empty if it is none."""
    return value if isinstance(value, list) else ()


def mapping_of(value: object) -> Mapping[str, Any]:
    """Return an object field; empty if it is none."""
    return value if isinstance(value, Mapping) else {}


def title_id(title: str) -> str:
    """Return an id for a work that has none of its own."""
    return f"title-{hashlib.sha256(title.encode()).hexdigest()[:12]}"


def whole(records: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Return the largest whole number of that name among records of one work; None without any."""
    found = [item.get(name) for item in records]
    numbers = [number for number in found if isinstance(number, int) and not isinstance(number, bool) and number >= 0]
    return max(numbers, default=None)


def find_paper(nodes: Iterable[Node]) -> dict[str, str]:
    """Return id -> id of the first, for every record of the paper: databases may hold preprint and publication apart."""
    found = [node.id for node in nodes if node.work == record().id]
    return dict.fromkeys(found, next(iter(found), ""))


def new_node(
    node_id: str, title: str, people: Iterable[str], year: object, *, doi: str = "", arxiv: str = "", home: str = ""
) -> Node:
    """Return a work of an export; ``home`` is its address where it has neither DOI nor arXiv identifier."""
    url = f"https://doi.org/{doi}" if doi else f"https://arxiv.org/abs/{arxiv}" if arxiv else home
    work = known_work(arxiv=arxiv, doi=doi, title=title)
    return Node(node_id, title, tuple(filter(None, people)), plausible_year(year), url, work=work)


def join(
    papers: Mapping[str, str],
    nodes: Iterable[Node],
    pairs: Iterable[tuple[str, str]],
    *,
    counts: Counts,
    origin: str,
    loose: int = 0,
    notes: Iterable[str] = (),
) -> Network:
    """Return the network of an export, the records of the paper as one node with the facts of our own record.

    Args:
        papers: of `find_paper`.
        nodes: the works, those of the paper among them.
        pairs: ids of the citing and the cited work.
        counts: numbers that the export gives for the paper.
        origin: whose export it is.
        loose: citations of works that the file has no record of.
        notes: further sentences about what the network lacks.
    """
    paper = csl_node(record().csl, next(iter(papers), record().id))
    others = [node for node in nodes if node.id not in papers]
    edges = [Edge(papers.get(citing, citing), papers.get(cited, cited)) for citing, cited in pairs]
    found = []
    if not papers:
        found.append(
            "The paper is not among the works of the file, so none of them is marked as reference or citation."
        )
    if loose:
        found.append(f"Citations of works that the file has no record of are left out: {loose:,}.")
    return make_network(paper, others, edges, counts=counts, origin=origin, notes=(*found, *notes))
