"""Places of works over time: the year across, and down either a row for each or the vertical place of a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bnlens.paper import ROLES, Node

__all__ = ["WIDTH", "Timeline", "timeline"]

WIDTH = 1000
_LABELLED = (
    40  # works up to which each has a row of its own, so that no two labels meet, however wide the drawing is shown
)
_HEIGHT = 700
_ROW = 46  # units; a phone shows 1000 units as 360 pixels, where a line of text is about 38 units high
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 40, 40, 90
_UNDATED = 90  # left of the axis, for works without a year
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_MOST_TICKS = 8


class Timeline(NamedTuple):
    """Places of works by id, whether there is room for labels, the drawing's height, and years with places on the axis."""

    places: dict[str, tuple[float, float]]
    is_labelled: bool
    height: float
    ticks: list[tuple[int, float]]


def timeline(nodes: Sequence[Node], spread: Mapping[str, tuple[float, float]]) -> Timeline:
    """Return the places of works; ``spread`` has those of a layout, whose second coordinate parts works of one year."""
    years = [node.year for node in nodes if node.year is not None]
    first, last = (min(years), max(years)) if years else (0, 0)
    start = _LEFT + (_UNDATED if len(years) < len(nodes) else 0)

    def x(year: int | None) -> float:
        if year is None:
            return _LEFT
        return round(start + (year - first) / max(last - first, 1) * (WIDTH - _RIGHT - start), 1)

    order = sorted(nodes, key=lambda node: (node.year or 0, ROLES.index(node.role), node.title))
    is_labelled = len(nodes) <= _LABELLED
    if is_labelled:
        down: dict[str, float] = {node.id: _TOP + _ROW * row for row, node in enumerate(order)}
        height = _TOP + _ROW * (len(nodes) - 1) + _BOTTOM
    else:
        ranks = sorted(nodes, key=lambda node: (spread[node.id][1], node.id))
        room = (_HEIGHT - _TOP - _BOTTOM) / (len(nodes) - 1)
        down = {node.id: round(_TOP + room * rank, 1) for rank, node in enumerate(ranks)}
        height = _HEIGHT
    step = next((step for step in _STEPS if (last - first) / step < _MOST_TICKS), _STEPS[-1])
    ticks = [(year, x(year)) for year in range(-(-first // step) * step, last + 1, step)] if years else []
    return Timeline({node.id: (x(node.year), down[node.id]) for node in nodes}, is_labelled, height, ticks)
