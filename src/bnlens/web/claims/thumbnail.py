"""A claim's figure in small: the first panel of its curves and points, as SVG that needs no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bnlens.claims import StoredRun
from bnlens.render import PALETTE, Html, escape

__all__ = ["thumbnail"]

_WIDTH, _HEIGHT, _MARGIN = 240, 110, 8


class _Axis(NamedTuple):
    """From values to places on the drawing; what is no number stands at its place among the categories."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    categories: Sequence[str]

    @classmethod
    def of(cls, values: Iterable[Any], axis: Any, start: float, end: float) -> _Axis:
        values = list(values)
        named = axis.type == "category" or any(isinstance(value, str) for value in values)
        categories = list(dict.fromkeys(map(str, values))) if named else []
        axis_ = cls(0, 1, start, end, axis.type == "log", categories)
        numbers = [number for value in values if math.isfinite(number := axis_.number(value))]
        low, high = axis.range or (min(numbers, default=0), max(numbers, default=1))
        return axis_._replace(low=low, high=high if high > low else low + 1)

    def number(self, value: Any) -> float:
        if self.categories:
            return float(self.categories.index(str(value)))
        number = math.nan if value is None else float(value)
        return number if not self.log else math.log10(number) if number > 0 else math.nan

    def place(self, value: Any) -> float:
        """Return a place, NaN outside the axis."""
        share = (self.number(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start) if -0.001 <= share <= 1.001 else math.nan


def thumbnail(stored: StoredRun) -> Html | None:
    """Return the figure of a stored run in small; None if the claim was not judged or nothing of it can be drawn."""
    figure = stored.run.figure
    if figure is None:
        return None
    traces = [
        trace for trace in figure.data if trace.type == "scatter" and trace.xaxis in (None, "x") and trace.y is not None
    ]
    points = [(trace, list(zip(_names(trace.x, len(trace.y)), trace.y, strict=True))) for trace in traces]
    x = _Axis.of((x for _, found in points for x, _ in found), figure.layout.xaxis, _MARGIN, _WIDTH - _MARGIN)
    y = _Axis.of((y for _, found in points for _, y in found), figure.layout.yaxis, _HEIGHT - _MARGIN, _MARGIN)
    marks = "".join(_marks(index, trace, found, x, y) for index, (trace, found) in enumerate(points))
    if not marks:
        return None
    title = stored.run.claim.title
    label = (
        f"{stored.run.claim.id}, {title}: {_title(figure.layout.yaxis)} over {_title(figure.layout.xaxis) or 'cases'}"
    )
    frame = (
        f'<path class="frame-line" d="M{_MARGIN / 2} {_MARGIN / 2}V{_HEIGHT - _MARGIN / 2}H{_WIDTH - _MARGIN / 2}"/>'
    )
    return Html(
        f'<svg class="thumbnail" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">{frame}{marks}</svg>'
    )


def _names(x: Any, count: int) -> list[Any]:
    """Return the positions of points; of two levels of categories, which Plotly has as two lists, the pairs."""
    if x is None:
        return list(range(count))
    return (
        ["\n".join(map(str, pair)) for pair in zip(*x, strict=True)] if len(x) == 2 and not _is_plain(x[0]) else list(x)
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or not hasattr(value, "__len__")


def _title(axis: Any) -> str:
    return str(axis.title.text or "")


def _marks(index: int, trace: Any, points: Iterable[tuple[Any, Any]], x: _Axis, y: _Axis) -> str:
    color = escape(str(trace.line.color or trace.marker.color or PALETTE[index % len(PALETTE)]))
    places = [(round(x.place(a), 1), round(y.place(b), 1)) for a, b in points]
    drawn = [place for place in places if all(map(math.isfinite, place))]
    if trace.fill == "toself":
        return f'<polygon points="{_list(drawn)}" fill="{escape(str(trace.fillcolor))}"/>' if drawn else ""
    mode = trace.mode or "lines"
    line = f'<polyline points="{_list(drawn)}" fill="none" stroke="{color}"/>' if "lines" in mode and drawn else ""
    look = f'r="3.6" fill="none" stroke="{color}"' if "open" in str(trace.marker.symbol) else f'r="2.2" fill="{color}"'
    dots = (f'<circle cx="{a}" cy="{b}" {look}/>' for a, b in (drawn if "markers" in mode else ()))
    return line + "".join(dots)


def _list(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{a},{b}" for a, b in places)
