"""Works of OpenAlex, as its API and its snapshots give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.paper._network import Counts, Network, Node
from bnlens.paper._network_parts import find_paper, join, list_of, mapping_of, new_node, text_of, whole

__all__ = ["read_openalex"]

_HOME = "https://openalex.org/"


def read_openalex(items: Sequence[Mapping[str, Any]]) -> Network:
    """Return the network of a list of works; works that only the paper cites are kept without a record."""
    nodes = {node.id: node for item in items if (node := _node(item)).id}
    papers = find_paper(nodes.values())
    pairs, loose = [], 0
    for item in items:
        citing = _id(item.get("id"))
        for cited in map(_id, list_of(item.get("referenced_works"))):
            if cited not in nodes and citing in papers and cited:
                nodes[cited] = Node(cited, url=_HOME + cited)
            loose += cited not in nodes
            pairs.append((citing, cited))
    records = [item for item in items if _id(item.get("id")) in papers]
    counts = Counts(whole(records, "referenced_works_count"), whole(records, "cited_by_count"))
    return join(papers, nodes.values(), pairs, counts=counts, origin="OpenAlex", loose=loose)


def _id(value: object) -> str:
    return text_of(value).removeprefix(_HOME)


def _node(item: Mapping[str, Any]) -> Node:
    doi = text_of(item.get("doi") or mapping_of(item.get("ids")).get("doi")).removeprefix("https://doi.org/")
    node_id = _id(item.get("id"))
    title = text_of(item.get("title") or item.get("display_name"))
    authors = (mapping_of(mapping_of(entry).get("author")) for entry in list_of(item.get("authorships")))
    people = (text_of(author.get("display_name")) for author in authors)
    return new_node(node_id, title, people, item.get("publication_year"), doi=doi, home=_HOME + node_id)
