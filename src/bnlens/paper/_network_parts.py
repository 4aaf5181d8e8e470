"""Steps that the readers of all exports have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnlens.paper._csl import clean
from bnlens.paper._network import Node, csl_node
from bnlens.paper._record import record

__all__ = ["Loose", "find_paper", "left_out", "name_paper", "text_of", "title_id", "whole"]


@dataclass
class Loose:
    """Counts citations of works that the file has no record of."""

    count: int = 0

    def add(self, is_loose: bool) -> None:
        """Count one if it is."""
        self.count += is_loose


def text_of(value: object) -> str:
    """Return a text field as one clean line; empty if it is none."""
    return clean(value) if isinstance(value, str) else ""


def title_id(title: str) -> str:
    """Return an id for a work that has none of its own."""
    return f"title-{hashlib.sha256(title.encode()).hexdigest()[:12]}"


def whole(records: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Return the largest whole number of that name among records of one work; None without any."""
    found = [item.get(name) for item in records]
    numbers = [number for number in found if isinstance(number, int) and not isinstance(number, bool) and number >= 0]
    return max(numbers, default=None)


def find_paper(nodes: Iterable[Node]) -> dict[str, str]:
    """Return id -> id of the first, for every record of the paper: databases may hold preprint and publication apart."""
    found = [node.id for node in nodes if node.work == record().id]
    return dict.fromkeys(found, next(iter(found), ""))


def name_paper(papers: Mapping[str, str], nodes: Iterable[Node]) -> tuple[Node, list[Node]]:
    """Return the paper's node with the facts of our own record, and all others."""
    first = next(iter(papers), record().id)
    return csl_node(record().csl, first), [node for node in nodes if node.id not in papers]


def left_out(papers: Mapping[str, str], loose: Loose) -> tuple[str, ...]:
    """Return the sentences about what the network lacks."""
    notes = []
    if not papers:
        notes.append(
            "The paper is not among the works of the file, so none of them is marked as reference or citation."
        )
    if loose.count:
        notes.append(f"Citations of works that the file has no record of are left out: {loose.count:,}.")
    return tuple(notes)
