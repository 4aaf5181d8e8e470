"""A claim's figure in small: the first panel of its curves and points, as SVG that needs no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import StoredRun
from bnlens.render import PALETTE, Html, category_pairs, escape

__all__ = ["thumbnail"]

_WIDTH, _HEIGHT, _MARGIN = 240, 110, 8
_FRAME = f"M{_MARGIN / 2} {_MARGIN / 2}V{_HEIGHT - _MARGIN / 2}H{_WIDTH - _MARGIN / 2}"

FloatArray: TypeAlias = NDArray[np.float64]


def thumbnail(stored: StoredRun) -> Html | None:
    """Return the figure of a stored run in small; None if the claim was not judged or nothing of it can be drawn."""
    figure, claim = stored.run.figure, stored.run.claim
    if figure is None:
        return None
    first = figure.select_traces({"type": "scatter"})
    traces = [trace for trace in first if trace.xaxis in (None, "x") and trace.y is not None]
    across, up = figure.layout.xaxis, figure.layout.yaxis
    x = _places([_names(trace.x, len(trace.y)) for trace in traces], across, _MARGIN, _WIDTH - _MARGIN)
    y = _places([trace.y for trace in traces], up, _HEIGHT - _MARGIN, _MARGIN)
    marks = "".join(_marks(index, *drawn) for index, drawn in enumerate(zip(traces, x, y, strict=True)))
    if not marks:
        return None
    label = escape(f"{claim.id}, {claim.title}: {up.title.text or ''} over {across.title.text or 'cases'}")
    return Html(
        f'<svg class="thumbnail" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'<path class="frame-line" d="{_FRAME}"/>{marks}</svg>'
    )


def _names(x: Any, count: int) -> Sequence[Any]:
    """Return the positions of points: numbers, names, or pairs of names."""
    return range(count) if x is None else category_pairs(x) or x


def _places(columns: Sequence[Sequence[Any]], axis: Any, start: float, end: float) -> list[FloatArray]:
    """Return the places of values on the drawing, NaN outside; what is no number stands at its place among the categories."""
    values = [value for column in columns for value in column]
    if axis.type == "category" or any(isinstance(value, (str, tuple)) for value in values):
        order = {name: place for place, name in enumerate(dict.fromkeys(map(str, values)))}
        columns = [[order[str(value)] for value in column] for column in columns]
    numbers = [np.array(column, dtype=float) for column in columns]
    if axis.type == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = [np.log10(column) for column in numbers]
    known = [number for column in numbers for number in column if np.isfinite(number)] or [0, 1]
    low, high = axis.range or (min(known), max(known))
    shares = [(column - low) / ((high - low) or 1) for column in numbers]
    return [
        np.where((share > -0.001) & (share < 1.001), start + share * (end - start), np.nan).round(1) for share in shares
    ]


def _marks(index: int, trace: Any, x: Iterable[float], y: Iterable[float]) -> str:
    color = escape(str(trace.line.color or trace.marker.color or PALETTE[index % len(PALETTE)]))
    drawn = [(a, b) for a, b in zip(x, y, strict=True) if np.isfinite([a, b]).all()]
    points = " ".join(f"{a},{b}" for a, b in drawn)
    if trace.fill == "toself":
        return f'<polygon points="{points}" fill="{escape(str(trace.fillcolor))}"/>' if drawn else ""
    mode = trace.mode or "lines"
    line = f'<polyline points="{points}" fill="none" stroke="{color}"/>' if "lines" in mode and drawn else ""
    look = f'r="3.6" fill="none" stroke="{color}"' if "open" in str(trace.marker.symbol) else f'r="2.2" fill="{color}"'
    dots = (f'<circle cx="{a}" cy="{b}" {look}/>' for a, b in (drawn if "markers" in mode else ()))
    return line + "".join(dots)
