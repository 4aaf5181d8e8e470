"""Works of OpenAlex, as its API and its snapshots give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.paper._network import Counts, Edge, Network, Node, known_work, make_network, plausible_year
from bnlens.paper._network_parts import Loose, find_paper, left_out, name_paper, text_of, whole

__all__ = ["read_openalex"]

_HOME = "https://openalex.org/"


def read_openalex(items: Sequence[Mapping[str, Any]]) -> Network:
    """Return the network of a list of works; works that only the paper cites are kept without a record."""
    nodes = {node.id: node for item in items if (node := _node(item)).id}
    papers = find_paper(nodes.values())
    paper, others = name_paper(papers, nodes.values())
    edges, loose = [], Loose()
    for item in items:
        citing, listed = _id(item.get("id")), item.get("referenced_works")
        for cited_id in map(_id, listed if isinstance(listed, list) else ()):
            if cited_id not in nodes and citing in papers and cited_id:
                others.append(Node(cited_id, url=_HOME + cited_id))
                nodes[cited_id] = others[-1]
            loose.add(cited_id not in nodes)
            edges.append(Edge(papers.get(citing, citing), papers.get(cited_id, cited_id)))
    records = [item for item in items if _id(item.get("id")) in papers]
    counts = Counts(
        references=whole(records, "referenced_works_count"),
        citations=whole(records, "cited_by_count"),
        influential=None,
    )
    return make_network(paper, others, edges, counts=counts, origin="OpenAlex", notes=left_out(papers, loose))


def _id(value: object) -> str:
    return text_of(value).removeprefix(_HOME)


def _node(item: Mapping[str, Any]) -> Node:
    given = item.get("ids")
    ids: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    doi = text_of(item.get("doi") or ids.get("doi")).removeprefix("https://doi.org/")
    node_id = _id(item.get("id"))
    title = text_of(item.get("title") or item.get("display_name"))
    listed = item.get("authorships")
    people = [
        text_of(entry["author"].get("display_name"))
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("author"), Mapping)
    ]
    return Node(
        id=node_id,
        title=title,
        authors=tuple(filter(None, people)),
        year=plausible_year(item.get("publication_year")),
        url=f"https://doi.org/{doi}" if doi else _HOME + node_id,
        work=known_work(doi=doi, title=title),
    )
