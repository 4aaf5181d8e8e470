"""CSL-JSON with citations: Crossref's ``reference`` lists, or ids in ``custom.references``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnlens.paper._csl import CslItem
from bnlens.paper._network import Counts, Edge, Network, Node, csl_node, known_work, make_network, plausible_year
from bnlens.paper._network_parts import Loose, find_paper, left_out, name_paper, text_of, title_id, whole

__all__ = ["read_csl"]

_ENTRY = (str, int, Mapping)


def read_csl(items: Sequence[Mapping[str, Any]]) -> Network:
    """Return the network of CSL-JSON records."""
    nodes: dict[str, Node] = {}
    ids = [_item_id(item) for item in items]
    for node_id, item in zip(ids, items, strict=True):
        nodes.setdefault(node_id, csl_node(item, node_id))
    papers = find_paper(nodes.values())
    by_doi = {doi: node_id for node_id, item in zip(ids, items, strict=True) if (doi := CslItem(item).doi.lower())}
    by_work = {node.work: node.id for node in nodes.values() if node.work}
    added: dict[str, Node] = {}
    edges, loose = [], Loose()
    for citing, item in zip(ids, items, strict=True):
        for reference in _references(item):
            if isinstance(reference, str):
                loose.add(reference not in nodes)
                cited = reference
            else:
                node = _reference_node(reference)
                cited = by_doi.get(text_of(reference.get("DOI")).lower()) or by_work.get(node.work) or node.id
                if node.id and cited == node.id and cited not in nodes:
                    added.setdefault(node.id, node)
            edges.append(Edge(papers.get(citing, citing), papers.get(cited, cited)))
    paper, others = name_paper(papers, [*nodes.values(), *added.values()])
    records = [item for node_id, item in zip(ids, items, strict=True) if node_id in papers]
    given = [whole(records, name) for name in ("references-count", "reference-count")]
    counts = Counts(
        references=next((number for number in given if number is not None), None),
        citations=whole(records, "is-referenced-by-count"),
    )
    notes = left_out(papers, loose)
    if not edges:
        notes += ("The file lists works without saying which cites which.",)
    return make_network(paper, others, edges, counts=counts, origin="CSL-JSON", notes=notes)


def _item_id(item: Mapping[str, Any]) -> str:
    found = CslItem(item)
    return found.text("id") or found.doi.lower() or title_id(found.text("title"))


def _references(item: Mapping[str, Any]) -> Iterator[str | Mapping[str, Any]]:
    custom = item.get("custom")
    for listed in (item.get("reference"), custom.get("references") if isinstance(custom, Mapping) else None):
        if isinstance(listed, list):
            yield from (
                str(entry) if isinstance(entry, int) else entry for entry in listed if isinstance(entry, _ENTRY)
            )


def _reference_node(entry: Mapping[str, Any]) -> Node:
    """Return a cited work of which nothing is known but the citing record's entry."""
    doi = text_of(entry.get("DOI")).lower()
    title = next(
        (found for name in ("article-title", "volume-title", "unstructured") if (found := text_of(entry.get(name)))), ""
    )
    year = text_of(entry.get("year"))[:4]
    author = text_of(entry.get("author"))
    return Node(
        id=doi or (title_id(title) if title else ""),
        title=title,
        authors=(author,) if author else (),
        year=plausible_year(int(year)) if year.isdecimal() else None,
        url=f"https://doi.org/{doi}" if doi else "",
        work=known_work(doi=doi, title=title),
    )
