"""CSL-JSON with citations: ``reference`` lists, as DOI registrars hand them out, or ids in ``custom.references``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnlens.paper._csl import CslItem
from bnlens.paper._network import Counts, Network, Node, csl_node
from bnlens.paper._network_parts import find_paper, join, list_of, mapping_of, new_node, text_of, title_id, whole

__all__ = ["read_csl"]


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
    pairs, loose = [], 0
    for citing, item in zip(ids, items, strict=True):
        for reference in _references(item):
            if isinstance(reference, str):
                loose += reference not in nodes
                cited = reference
            else:
                node = _reference_node(reference)
                cited = by_doi.get(text_of(reference.get("DOI")).lower()) or by_work.get(node.work) or node.id
                if node.id and cited == node.id and cited not in nodes:
                    added.setdefault(node.id, node)
            pairs.append((citing, cited))
    records = [item for node_id, item in zip(ids, items, strict=True) if node_id in papers]
    given = [whole(records, name) for name in ("references-count", "reference-count")]
    references = next((number for number in given if number is not None), None)
    counts = Counts(references, whole(records, "is-referenced-by-count"))
    notes = () if pairs else ("The file lists works without saying which cites which.",)
    found = [*nodes.values(), *added.values()]
    return join(papers, found, pairs, counts=counts, origin="CSL-JSON", loose=loose, notes=notes)


def _item_id(item: Mapping[str, Any]) -> str:
    found = CslItem(item)
    return found.text("id") or found.doi.lower() or title_id(found.text("title"))


def _references(item: Mapping[str, Any]) -> Iterator[str | Mapping[str, Any]]:
    for entry in (*list_of(item.get("reference")), *list_of(mapping_of(item.get("custom")).get("references"))):
        if isinstance(entry, (str, int, Mapping)):
            yield str(entry) if isinstance(entry, int) else entry


def _reference_node(entry: Mapping[str, Any]) -> Node:
    """Return a cited work of which nothing is known but the citing record's entry."""
    doi = text_of(entry.get("DOI")).lower()
    titles = (text_of(entry.get(name)) for name in ("article-title", "volume-title", "unstructured"))
    title = next(filter(None, titles), "")
    year = text_of(entry.get("year"))[:4]
    author = text_of(entry.get("author"))
    return new_node(
        doi or (title and title_id(title)), title, [author], int(year) if year.isdecimal() else None, doi=doi
    )
