"""Citation networks, that of bnlens, exports in the served folder and those a reader has sent, and how a page draws them."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bnlens.paper import MOST_NODES, ROLES, Network, Node, Role, bundled_network, layout, parse_network
from bnlens.web.library import Library
from bnlens.web.network.timeline import WIDTH, Timeline, timeline

__all__ = ["ROLE_WORDS", "Drawing", "Graph", "Mark", "NetworkLibrary", "graph"]

_MOST_DRAWN = 500  # a browser still turns these smoothly, and a reader can still tell them apart
_MOST_KEPT = 16
_MARKS = re.compile(rb'"https://openalex\.org/W|"referenced_works"\s*:')
_CSL = re.compile(rb'\A\s*(?:\[\s*)?\{(?=[^{]*"type"\s*:\s*"[a-z_-]+")(?=[\s\S]*"(?:title|author|DOI)"\s*:)')


class Drawing(NamedTuple):
    """A network as it is shown, with works few enough to draw.

    ``places`` has their positions by id, in the square from -1 to 1 with the paper at the origin.
    """

    network: Network
    places: dict[str, tuple[float, float]]


class NetworkLibrary(Library[Network]):
    """Networks by name; the empty name is the one that comes with bnlens."""

    kind = "a citation network"
    advice = "export works of OpenAlex, or CSL-JSON"
    max_bytes = 16 * 2**20
    patterns = ("*.json", "*.jsonl")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._drawn = lru_cache(_MOST_KEPT)(self._draw)
        self._drawing = threading.Lock()

    def has_mark(self, head: bytes) -> bool:
        """Whether it looks like an export that can be read; its content is judged when it is opened."""
        return b'"bnlens' not in head and bool(_MARKS.search(head) or _CSL.search(head))

    def parse(self, text: str, name: str) -> Network:
        """Return the network.

        Raises:
            DataError: it is none.
        """
        return parse_network(text.removeprefix("\ufeff"), name, MOST_NODES)

    def draw(self, name: str) -> Drawing:
        """Return a network with its layout; raises as `load` does, and a DataError if the file is no network."""
        with self._drawing:  # one at a time: a second reader of the same network waits for the first one's
            return self._drawn(name, self.stamp(name) if name else None)

    def _draw(self, name: str, stamp: Hashable) -> Drawing:
        shown = (self.load(name) if name else bundled_network()).limited(_MOST_DRAWN)
        return Drawing(shown, layout(shown))


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
        x: place in the graph by its year, from 0 to `WIDTH`.
        y: down from the top.
        cites: indices of works.
        cited_by: likewise.
        source: where it was found that the paper and this work cite each other, if they do and it is known.
    """

    index: int
    node: Node
    x: float
    y: float
    cites: Sequence[int]
    cited_by: Sequence[int]
    source: str

    @property
    def label(self) -> str:
        """Authors and year, short."""
        node = self.node
        families = [name.split()[-1] for name in node.authors if name.split()]
        people = f"{families[0]} et al." if len(families) > 2 else " & ".join(families)
        return " ".join(part for part in (people or node.title[:24] or node.id[:16], str(node.year or "")) if part)

    @property
    def label_side(self) -> int:
        """1 where its label stands right of it, -1 where left."""
        return 1 if self.x < WIDTH / 2 else -1

    @property
    def title(self) -> str:
        """Its title, or its id if it has none."""
        return self.node.title or f"{self.node.id} (the file has no record of it)"

    @property
    def text(self) -> str:
        """The words that a search looks through, in lower case."""
        return " ".join((self.title, *self.node.authors, str(self.node.year or ""), self.node.id)).lower()


class Graph(NamedTuple):
    """The works and citations that are drawn and listed.

    Attributes:
        marks: in the order of the list: by role, then year and title.
        near: SVG path of the citations of and by the paper.
        far: SVG path of all others.
        line: the axis of years.
    """

    marks: Sequence[Mark]
    near: str
    far: str
    line: Timeline


def graph(drawing: Drawing) -> Graph:
    """Return the graph of a drawing."""
    network = drawing.network
    index = {node.id: number for number, node in enumerate(network.nodes)}
    line = timeline(network.nodes, drawing.places)
    cites: dict[str, list[int]] = defaultdict(list)
    cited_by: dict[str, list[int]] = defaultdict(list)
    paths = {True: "", False: ""}
    sources: dict[str, str] = {}
    for edge in network.edges:
        cites[edge.citing].append(index[edge.cited])
        cited_by[edge.cited].append(index[edge.citing])
        is_near = network.paper.id in edge[:2]
        paths[is_near] += "M{:g} {:g}L{:g} {:g}".format(*line.places[edge.citing], *line.places[edge.cited])
        if edge.source and is_near:
            sources[edge.cited if edge.citing == network.paper.id else edge.citing] = network.sources[edge.source]
    marks = [
        Mark(index[node.id], node, *line.places[node.id], cites[node.id], cited_by[node.id], sources.get(node.id, ""))
        for node in network.nodes
    ]
    marks.sort(key=lambda mark: (ROLES.index(mark.node.role), mark.node.year or 9999, mark.title))
    return Graph(marks, paths[True], paths[False], line)
