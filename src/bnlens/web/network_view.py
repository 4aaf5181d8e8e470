"""A network as its page shows it: shapes for the graph, entries for the list beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bnlens.paper import ROLES, Node, Role
from bnlens.web.networks import Drawing

__all__ = ["HEIGHT", "ROLE_WORDS", "WIDTH", "Graph", "Mark", "graph"]

WIDTH, HEIGHT = 1000, 700
_MARGIN_X, _MARGIN_Y = 90, 60
_LABELLED = 40

ROLE_WORDS: Mapping[Role, tuple[str, str]] = {
    "paper": ("The paper", "This paper"),
    "reference": ("Reference", "References"),
    "citation": ("Citation", "Citations"),
    "other": ("Other work", "Other works"),
}
"""One work of a role, and all of them."""


@dataclass(frozen=True)
class Mark:
    """A work in the graph and in the list.

    Attributes:
        index: of its node; what the script calls it.
        node: the work.
        label: authors and year, short.
        x: place in the graph, from 0 to `WIDTH`.
        y: from 0 to `HEIGHT`.
        cites: indices of the works that it cites.
        cited_by: indices of the works that cite it.
    """

    index: int
    node: Node
    label: str
    x: float
    y: float
    cites: tuple[int, ...]
    cited_by: tuple[int, ...]

    @property
    def title(self) -> str:
        """Its title, or its id if it has none."""
        return self.node.title or f"{self.node.id} (the file has no record of it)"

    @property
    def text(self) -> str:
        """The words that a search looks through, in lower case."""
        return " ".join((self.title, *self.node.authors, str(self.node.year or ""), self.node.id)).lower()


@dataclass(frozen=True)
class Graph:
    """The works and citations that are drawn and listed.

    Attributes:
        marks: in the order of the list: by role, then year and title.
        near: SVG path of the citations of and by the paper.
        far: SVG path of all others.
        labelled: whether there is room for labels.
        sources: index -> where it was found that the paper and this work cite each other.
    """

    marks: tuple[Mark, ...]
    near: str
    far: str
    labelled: bool
    sources: Mapping[int, str]


def graph(drawing: Drawing) -> Graph:
    """Return the graph of a drawing; without places all marks lie in the middle and are only listed."""
    network = drawing.network
    index = {node.id: number for number, node in enumerate(network.nodes)}
    places = _fitted(drawing.places or {})
    cites: dict[str, list[int]] = {}
    cited_by: dict[str, list[int]] = {}
    sources: dict[int, str] = {}
    for edge in network.edges:
        cites.setdefault(edge.citing, []).append(index[edge.cited])
        cited_by.setdefault(edge.cited, []).append(index[edge.citing])
        if edge.source and network.paper.id in edge[:2]:
            other = edge.cited if edge.citing == network.paper.id else edge.citing
            sources[index[other]] = network.sources[edge.source]
    marks = [
        Mark(
            index[node.id],
            node,
            _label(node),
            *places.get(node.id, (WIDTH / 2, HEIGHT / 2)),
            tuple(cites.get(node.id, ())),
            tuple(cited_by.get(node.id, ())),
        )
        for node in network.nodes
    ]
    ends = [(edge[:2], network.paper.id in edge[:2]) for edge in network.edges] if places else []
    return Graph(
        marks=tuple(sorted(marks, key=lambda mark: (ROLES.index(mark.node.role), mark.node.year or 9999, mark.title))),
        near=_lines(places, (pair for pair, is_near in ends if is_near)),
        far=_lines(places, (pair for pair, is_near in ends if not is_near)),
        labelled=len(marks) <= _LABELLED,
        sources=sources,
    )


def _fitted(places: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    def axis(values: list[float], size: float, margin: float) -> list[float]:
        low, high = min(values), max(values)
        if high == low:
            return [size / 2] * len(values)
        return [round(margin + (value - low) / (high - low) * (size - 2 * margin), 1) for value in values]

    if not places:
        return {}
    xs = axis([x for x, _ in places.values()], WIDTH, _MARGIN_X)
    ys = axis([y for _, y in places.values()], HEIGHT, _MARGIN_Y)
    return dict(zip(places, zip(xs, ys, strict=True), strict=True))


def _lines(places: Mapping[str, tuple[float, float]], pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f"M{places[citing][0]:g} {places[citing][1]:g}L{places[cited][0]:g} {places[cited][1]:g}"
        for citing, cited in pairs
    )


def _label(node: Node) -> str:
    families = [name.split()[-1] for name in node.authors if name.split()]
    people = (
        families[0] + (" et al." if len(families) > 2 else f" & {families[1]}" if len(families) == 2 else "")
        if families
        else ""
    )
    return " ".join(part for part in (people or node.title[:24] or node.id[:16], str(node.year or "")) if part)
