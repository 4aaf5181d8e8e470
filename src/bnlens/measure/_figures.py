"""The figures of a report: gaps over M, shares of the layers, layers alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from bnlens import render
from bnlens.measure._estimate import Estimate
from bnlens.measure._results import Gaps, Kind, ReportData
from bnlens.render import ROLES

__all__ = ["gap_by_layer", "gap_by_size", "share_by_layer"]

_PREDICTIONS: tuple[tuple[Kind, str, str], ...] = (
    ("curve", "predicted", "predicted"),
    ("logits", "predicted from logits", "logits"),
    ("first_order", "first order", "first order"),
    ("fisher", "first order, Fisher", "fisher"),
    ("two_term", "two-term (paper)", "paper"),
)
_LOOKS = {
    **ROLES,
    "logits": {"color": render.PALETTE[4], "symbol": "star", "dash": "dashdot"},
    "first order": {"color": render.PALETTE[3], "symbol": "triangle-down", "dash": "longdash"},
    "fisher": {"color": render.PALETTE[2], "symbol": "triangle-up", "dash": "dot"},
}
_SIZES = [
    {"color": color, "symbol": symbol}
    for color, symbol in zip(render.PALETTE, ("circle", "square", "diamond"), strict=False)
]
_GAP = "gap (nats per sample)"
_LONGEST = 22  # characters of a layer's name beside a figure


def gap_by_size(gaps: Gaps, predictions: Mapping[int, Estimate] | None = None, name: str = "") -> go.Figure:
    """Return the gap over M: points measured, the curve with two standard errors, other laws, and ``predictions`` named.

    The axis of the gap is logarithmic, and curves reach to half and twice the sizes at hand. Where a gap or a curve between the
    sizes is not above zero the axis is linear, and curves end with the sizes: what lies beyond would dwarf the rest.
    """
    measured, marked = {**gaps.measured, **gaps.others}, predictions or {}
    low, high = min(*measured, *marked, gaps.source), max(*measured, *marked, gaps.source)
    steps = sorted({round(low / 2 * (4 * high / low) ** (step / 60)) for step in range(61)})
    grid = [size for size in steps if 2 <= size < gaps.population]
    laws = {kind: _law(gaps, kind, grid) for kind, _, _ in _PREDICTIONS if kind != "curve" or gaps.kind == "curve"}
    between = [gap for law in laws.values() for size, gap in law.items() if low <= size <= high]
    is_log = all(gap.value > 0 for gap in (*measured.values(), *marked.values(), *between))
    figure = render.new_figure(x="statistics batch size M", y=_GAP, xaxis_type="log")
    figure.update_yaxes(type="log" if is_log else "linear")
    for kind, label, role in _PREDICTIONS:
        shown = {
            size: gap for size, gap in laws.get(kind, {}).items() if (gap.value > 0 if is_log else low <= size <= high)
        }
        if kind == "curve" and shown:
            _add_band(figure, shown, is_log=is_log)
        if shown:
            line = {key: _LOOKS[role][key] for key in ("color", "dash")}
            render.add_line(figure, label, shown, [gap.value for gap in shown.values()], **line)
    for some, label, ending in ((gaps.others, "for predictions", "-open"), (gaps.measured, "measured", "")):
        if some:
            look = {**_LOOKS["measured"], "symbol": _LOOKS["measured"]["symbol"] + ending}
            figure.add_trace(_points(sorted(some), [some[size] for size in sorted(some)], label, look))
    if marked:
        look = {"color": _LOOKS["predicted"]["color"], "symbol": "x"}
        figure.add_trace(_points(list(marked), list(marked.values()), name, look))
    figure.update_xaxes(tickvals=[2**power for power in range(1, 21)])
    render.settle_log_axes(figure)
    return figure


def _law(gaps: Gaps, kind: Kind, sizes: Sequence[int]) -> dict[int, Estimate]:
    """Return what a law says at sizes; the curve says nothing at one that it goes through, as it would leave that one out."""
    asked = [size for size in sizes if kind != "curve" or size not in {**gaps.measured, **gaps.others}]
    found = ((size, gaps.predicted(size, kind, population=gaps.population)) for size in asked)
    return {size: gap for size, gap in found if gap is not None}


def _add_band(figure: go.Figure, curve: Mapping[int, Estimate], *, is_log: bool) -> None:
    """Draw two standard errors around a curve; on a logarithmic axis not below the lowest edge that has a place there."""
    low = [gap.value - 2 * gap.stderr for gap in curve.values()]
    high = [gap.value + 2 * gap.stderr for gap in curve.values()]
    if is_log:
        least = min((edge for edge in low if edge > 0), default=min(gap.value for gap in curve.values()))
        low = [edge if edge > 0 else least for edge in low]
    line = {"width": 0, "color": _LOOKS["predicted"]["color"]}
    edge: dict[str, Any] = {"mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}
    figure.add_trace(go.Scatter(x=list(curve), y=low, **edge))
    figure.add_trace(go.Scatter(x=list(curve), y=high, fill="tonexty", **edge))


def share_by_layer(report: ReportData) -> go.Figure:
    """Return each layer's share at each measured M, in per cent of the gap, in nats where a gap is not well above zero."""
    shares = {(layer.name, size): share for layer in report.layers for size, share in layer.share.items()}
    parts = {(layer.name, size): report.share_of_gap(layer, size) for layer in report.layers for size in layer.share}
    positive = {size for size, gap in report.network.gaps.measured.items() if gap.value > 0}
    known = {place: part * 100 for place, part in parts.items() if part is not None and place[1] in positive}
    unit, shown = ("per cent of the gap", known) if len(known) == len(shares) else ("nats per sample", shares)
    series = []
    for size, look in zip(report.statistics_batch_sizes, itertools.cycle(_SIZES), strict=False):
        series.append((f"M = {size}", {name: share for (name, at), share in shown.items() if at == size}, look))
    return _by_layer(f"share ({unit})", series)


def gap_by_layer(report: ReportData, size: int) -> go.Figure:
    """Return the gap of each layer alone at one M, measured and predicted side by side."""
    named = {layer.name: layer.gaps for layer in report.layers if layer.gaps is not None}
    series = [
        (f"measured, M = {size}", {name: gaps.measured[size] for name, gaps in named.items()}, _LOOKS["measured"])
    ]
    for kind, label, role in _PREDICTIONS:
        values = {name: gaps.predicted(size, kind, population=gaps.population) for name, gaps in named.items()}
        series.append((label, {name: value for name, value in values.items() if value is not None}, _LOOKS[role]))
    return _by_layer(_GAP, series)


def _by_layer(title: str, series: Sequence[tuple[str, Mapping[str, Estimate], Mapping[str, Any]]]) -> go.Figure:
    """Return a figure with a line for each layer, from the first at the top on, so that any number of names can be read."""
    names = list(dict.fromkeys(name for _, values, _ in series for name in values))
    room = max(22, 9 * len(series))  # pixels
    figure = render.new_figure(x=title, y="", scattermode="group", height=170 + room * max(5, len(names)))
    for label, values, look in series:
        if values:
            figure.add_trace(_points(list(values), list(values.values()), label, look, orientation="h"))
    texts = [name if len(name) <= _LONGEST else f"…{name[-_LONGEST:]}" for name in names]
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed", tickvals=names, ticktext=texts, tickfont_size=12)
    return figure


def _points(
    x: Sequence[Any], estimates: Sequence[Estimate], name: str, look: Mapping[str, Any], *, orientation: str = "v"
) -> go.Scatter:
    """Return estimates with their errors over positions, or beside them with the orientation "h"."""
    at, along = ("x", "y") if orientation == "v" else ("y", "x")
    return go.Scatter(
        {at: x, along: [estimate.value for estimate in estimates]},
        **{f"error_{along}": {"array": [estimate.stderr for estimate in estimates]}},
        mode="markers",
        name=name,
        marker={"color": look["color"], "symbol": look["symbol"]},
        orientation=orientation,
    )
