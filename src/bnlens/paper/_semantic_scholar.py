"""Papers of Semantic Scholar's Academic Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.paper._network import Counts, Network, Node
from bnlens.paper._network_parts import find_paper, join, list_of, mapping_of, new_node, text_of, title_id, whole
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
        for cited in list_of(item.get("references")):
            self.pairs[node.id, self.add(cited, depth + 1)] = None
        for citing in list_of(item.get("citations")):
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
    records = [item for name in papers for item in graph.records.get(name, ())]
    marked = whole(records, "influentialCitationCount")
    flags = any("citingPaper" in item and "isInfluential" in item for item in items)
    marked = marked if marked is not None else influential if flags else None
    counts = Counts(whole(records, "referenceCount"), whole(records, "citationCount"), marked)
    pairs = filter(all, graph.pairs)
    return join(papers, graph.nodes.values(), pairs, counts=counts, origin="Semantic Scholar")


def _node(item: Mapping[str, Any]) -> Node:
    ids = mapping_of(item.get("externalIds"))
    doi, arxiv, title = text_of(ids.get("DOI")), text_of(ids.get("ArXiv")), text_of(item.get("title"))
    paper_id = text_of(item.get("paperId"))
    people = (text_of(mapping_of(author).get("name")) for author in list_of(item.get("authors")))
    home = paper_id and _HOME + paper_id
    return new_node(
        paper_id or (title and title_id(title)), title, people, item.get("year"), doi=doi, arxiv=arxiv, home=home
    )
