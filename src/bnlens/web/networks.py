"""Citation networks: the one that comes with bnlens, exports in the served folder, and those a reader has sent."""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bnlens.errors import UsageError
from bnlens.paper import MOST_NODES, Network, bundled_network, layout, parse_network
from bnlens.web.library import Library

__all__ = ["MAX_BYTES", "Drawing", "NetworkLibrary"]

MAX_BYTES = 64 * 2**20
_MOST_DRAWN = 500  # a browser still turns these smoothly, and a reader can still tell them apart
_MOST_KEPT = 16
_MARKS = re.compile(rb'"https://openalex\.org/W|"(?:paperId|citedPaper|citingPaper|referenced_works)"\s*:')
_CSL = re.compile(rb'\A\s*(?:\[\s*)?\{(?=[^{]*"type"\s*:\s*"[a-z_-]+")(?=[\s\S]*"(?:title|author|DOI)"\s*:)')


@dataclass(frozen=True)
class Drawing:
    """A network as it is shown.

    Attributes:
        network: its works, few enough to draw.
        places: id -> position in the square from -1 to 1, the paper at the origin; None if it cannot be laid out.
        problem: why not.
    """

    network: Network
    places: dict[str, tuple[float, float]] | None
    problem: str = ""


class NetworkLibrary(Library[Network]):
    """Networks by name; the empty name is the one that comes with bnlens."""

    kind = "a citation network"
    advice = "export works of OpenAlex, a paper of Semantic Scholar, or CSL-JSON"
    max_bytes = MAX_BYTES
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
        """Return a network with its layout.

        Raises:
            NotFoundError: there is none of that name.
            StoreError: the file cannot be read.
            DataError: the file is no network.
        """
        with self._drawing:  # one at a time: a second reader of the same network waits for the first one's
            return self._drawn(name, self.stamp(name) if name else None)

    def _draw(self, name: str, stamp: Hashable) -> Drawing:
        shown = (self.load(name) if name else bundled_network()).limited(_MOST_DRAWN)
        try:
            return Drawing(shown, layout(shown))
        except UsageError as error:
            return Drawing(shown, None, str(error))
