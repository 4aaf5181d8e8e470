"""Papers of Semantic Scholar's Academic Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.paper._network import Counts, Edge, Network, Node, known_work, make_network, plausible_year
from bnlens.paper._network_parts import Loose, find_paper, left_out, name_paper, text_of, title_id, whole
from bnlens.paper._record import record

__all__ = ["read_semantic_scholar"]

_DEPTH = 3  # the API nests one level; files of others may nest further
_HOME = "https://www.semanticscholar.org/paper/"


class _Graph:
    """The papers and citations found so far."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.pairs: dict[tuple[str, str], None] = {}
        self.records: dict[str, list[Mapping[str, Any]]] = {}

    def add(self, item: object, depth: int = 0) -> str:
        """Add a paper and return its id; empty for one without id and title."""
        if not isinstance(item, Mapping) or depth > _DEPTH:
            return ""
        node = _node(item)
        if not node.id:
            return ""
        known = self.nodes.get(node.id)
        if known is None or (node.title and not known.title):
            self.nodes[node.id] = node
        self.records.setdefault(node.id, []).append(item)
        for cited in _papers(item, "references"):
            self.pairs[node.id, self.add(cited, depth + 1)] = None
        for citing in _papers(item, "citations"):
            self.pairs[self.add(citing, depth + 1), node.id] = None
        return node.id


def read_semantic_scholar(items: Sequence[Mapping[str, Any]]) -> Network:
    """Return the network of papers with their references and citations.

    The answers of ``/references`` and ``/citations`` do not name the paper they belong to; they are taken as the paper's.
    """
    graph, ours = _Graph(), record().id
    answers, influential = False, 0
    for item in items:
        if "citedPaper" in item:
            graph.pairs[ours, graph.add(item["citedPaper"])] = None
        elif "citingPaper" in item:
            influential += item.get("isInfluential") is True
            graph.pairs[graph.add(item["citingPaper"]), ours] = None
        else:
            graph.add(item)
            continue
        answers = True
    papers = find_paper(graph.nodes.values())
    if answers:
        papers |= {ours: next(iter(papers.values()), ours)}
    paper, others = name_paper(papers, graph.nodes.values())
    edges = [
        Edge(papers.get(citing, citing), papers.get(cited, cited)) for citing, cited in graph.pairs if citing and cited
    ]
    records = [item for name in papers for item in graph.records.get(name, ())]
    marked = whole(records, "influentialCitationCount")
    flags = any("citingPaper" in item and "isInfluential" in item for item in items)
    counts = Counts(
        references=whole(records, "referenceCount"),
        citations=whole(records, "citationCount"),
        influential=marked if marked is not None else influential if flags else None,
    )
    return make_network(paper, others, edges, counts=counts, origin="Semantic Scholar", notes=left_out(papers, Loose()))


def _papers(item: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = item.get(name)
    return found if isinstance(found, list) else ()


def _node(item: Mapping[str, Any]) -> Node:
    external = item.get("externalIds")
    ids: Mapping[str, Any] = external if isinstance(external, Mapping) else {}
    doi, arxiv, title = text_of(ids.get("DOI")), text_of(ids.get("ArXiv")), text_of(item.get("title"))
    paper_id = text_of(item.get("paperId"))
    people = [text_of(author.get("name")) for author in _papers(item, "authors") if isinstance(author, Mapping)]
    url = (
        f"https://doi.org/{doi}"
        if doi
        else f"https://arxiv.org/abs/{arxiv}"
        if arxiv
        else _HOME + paper_id
        if paper_id
        else ""
    )
    return Node(
        id=paper_id or (title_id(title) if title else ""),
        title=title,
        authors=tuple(filter(None, people)),
        year=plausible_year(item.get("year")),
        url=url,
        work=known_work(arxiv=arxiv, doi=doi, title=title),
    )
