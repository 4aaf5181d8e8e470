"""The citation network of the paper: what it cites, what cites it, and the works around these."""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from bnlens._arguments import Count, checked
from bnlens.paper._csl import CslItem, Name
from bnlens.paper._data import load
from bnlens.paper._record import record
from bnlens.paper._works import works

__all__ = [
    "ROLES",
    "Counts",
    "Edge",
    "Network",
    "Node",
    "Role",
    "bundled_network",
    "csl_node",
    "known_work",
    "make_network",
    "plausible_year",
]

Role = Literal["paper", "reference", "citation", "other"]
ROLES: tuple[Role, ...] = ("paper", "reference", "citation", "other")


@dataclass(frozen=True)
class Node:
    """A work.

    Attributes:
        id: unique in its network.
        title: empty if the file does not say.
        authors: full names, in order.
        year: None if the file does not say.
        url: link made of an identifier (DOI, arXiv, or that of the database); empty without one.
        role: ``"paper"``, ``"reference"`` (the paper cites it), ``"citation"`` (it cites the paper) or ``"other"``.
        work: its id in `bnlens.paper.works`, empty if it is not there.
    """

    id: str
    title: str = ""
    authors: tuple[str, ...] = ()
    year: int | None = None
    url: str = ""
    role: Role = "other"
    work: str = ""


class Edge(NamedTuple):
    """A citation between two nodes, by their ids.

    Attributes:
        citing: the work that cites.
        cited: the work that is cited.
        source: key of `Network.sources`; empty where the whole network has one source.
    """

    citing: str
    cited: str
    source: str = ""


@dataclass(frozen=True)
class Counts:
    """The numbers that a source gives for the paper, whether or not it lists the works; None where it gives none."""

    references: int | None = None
    citations: int | None = None
    influential: int | None = None


@dataclass(frozen=True)
class Network:
    """Works and the citations among them, around the paper.

    Attributes:
        nodes: the works, the paper first.
        edges: the citations, each once.
        counts: numbers that the source gives for the paper.
        origin: where it comes from, such as ``"OpenAlex"``.
        sources: key -> where an edge was found.
        notes: sentences about what is partial, missing or left out.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    counts: Counts = Counts()
    origin: str = ""
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()

    @property
    def paper(self) -> Node:
        """The paper's node."""
        return self.nodes[0]

    def roles(self) -> dict[Role, int]:
        """Return how many nodes have each role.

        >>> bundled_network().roles()["paper"]
        1
        """
        found = Counter(node.role for node in self.nodes)
        return {role: found[role] for role in ROLES}

    @checked
    def limited(self, count: Count) -> Network:
        """Return the network with at most ``count`` nodes: those nearest to the paper, of these the most connected.

        What is left out is said in `notes`.

        Raises:
            UsageError: ``count`` is below 1.
        """
        if len(self.nodes) <= count:
            return self
        distance = self._distances()
        degree = Counter(end for edge in self.edges for end in edge[:2])
        far = len(self.nodes)
        kept = sorted(self.nodes, key=lambda node: (distance.get(node.id, far), -degree[node.id], node.id))[:count]
        ids = {node.id for node in kept}
        note = f"Limited to {count:,} of {len(self.nodes):,} works: those nearest to the paper, of these the most connected."
        return dataclasses.replace(
            self,
            nodes=tuple(node for node in self.nodes if node.id in ids),
            edges=tuple(edge for edge in self.edges if edge.citing in ids and edge.cited in ids),
            notes=(note, *self.notes),
        )

    def _distances(self) -> dict[str, int]:
        neighbours: dict[str, list[str]] = {}
        for edge in self.edges:
            neighbours.setdefault(edge.citing, []).append(edge.cited)
            neighbours.setdefault(edge.cited, []).append(edge.citing)
        found, waiting = {self.paper.id: 0}, deque([self.paper.id])
        while waiting:
            here = waiting.popleft()
            for other in neighbours.get(here, ()):
                if other not in found:
                    found[other] = found[here] + 1
                    waiting.append(other)
        return found


def make_network(paper: Node, others: Iterable[Node], edges: Iterable[Edge], **about: Any) -> Network:
    """Return the network with each citation once, no work citing itself, and the roles that follow from the edges.

    Args:
        paper: the paper's node.
        others: the other nodes; one with the paper's id is dropped.
        edges: citations between them; those with an unknown end are dropped.
        **about: further fields of `Network`.
    """
    nodes = {paper.id: paper, **{node.id: node for node in others if node.id != paper.id}}
    kept = {
        edge[:2]: edge for edge in edges if edge.citing != edge.cited and edge.citing in nodes and edge.cited in nodes
    }
    roles: dict[str, Role] = {edge.citing: "citation" for edge in kept.values() if edge.cited == paper.id}
    roles |= {edge.cited: "reference" for edge in kept.values() if edge.citing == paper.id}
    roles[paper.id] = "paper"
    named = (dataclasses.replace(node, role=roles.get(node.id, "other")) for node in nodes.values())
    return Network(tuple(named), tuple(kept.values()), **about)


@functools.cache
def bundled_network() -> Network:
    """Return what is known without any file: certain citations among the works of the table, each with its source.

    >>> network = bundled_network()
    >>> network.paper.id, [node.id for node in network.nodes if node.role == "citation"]
    ('luo2019towards', ['yang2019mean', 'li2021fedbn'])
    """
    data = load("network")
    edges = [Edge(row["citing"], cited, row["source"]) for row in data["edges"] for cited in row["cited"]]
    ids = dict.fromkeys(end for edge in edges for end in edge[:2])
    paper = record()
    counts = Counts(references=paper.page.references, influential=paper.page.influential)
    about = {"counts": counts, "sources": MappingProxyType(data["sources"]), "notes": (data["statement"],)}
    return make_network(csl_node(paper.csl), (csl_node(works()[name]) for name in ids), edges, origin="bnlens", **about)


def csl_node(data: Mapping[str, Any], node_id: str = "") -> Node:
    """Return a CSL-JSON record as a node."""
    item = CslItem(data)
    title, authors = item.text("title"), tuple(map(_full_name, item.names("author")))
    link = item.url if re.match(r"https?://[^\s]+$", item.url) else ""
    work = known_work(arxiv=item.arxiv, doi=item.doi, title=title)
    return Node(node_id or item.text("id"), title, authors, plausible_year(item.date().year), link, work=work)


def plausible_year(value: object) -> int | None:
    """Return a year that a work can have; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1000 <= value < 3000 else None


def _full_name(name: Name) -> str:
    return " ".join(part for part in (name.given, name.last, name.suffix) if part)


def known_work(*, arxiv: str = "", doi: str = "", title: str = "") -> str:
    """Return the id of a work of the table by one of its identifiers or its title; empty if it is not there.

    >>> known_work(doi="10.48550/arXiv.1809.00846")
    'luo2019towards'
    """
    table = _table()
    doi = doi.lower()
    arxiv = arxiv or (doi.removeprefix("10.48550/arxiv.") if doi.startswith("10.48550/arxiv.") else "")
    arxiv = re.sub(r"v\d+$", "", arxiv.lower())
    return table.get(("arxiv", arxiv)) or table.get(("doi", doi)) or table.get(("title", _plain(title))) or ""


@functools.cache
def _table() -> Mapping[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for work_id, work in works().items():
        item = CslItem(work)
        names = (("arxiv", item.arxiv.lower()), ("doi", item.doi.lower()), ("title", _plain(item.text("title"))))
        found |= {(kind, name): work_id for kind, name in names if name}
    return found


def _plain(title: str) -> str:
    text = unicodedata.normalize("NFKD", title).casefold()
    return re.sub(r"[\W_]+", " ", text).strip()
