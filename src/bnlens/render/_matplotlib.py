"""Plotly figures drawn by matplotlib: what the figures of bnlens have, scatter traces with errors, bands, lines and notes."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from bnlens.errors import UsageError
from bnlens.render._look import template

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["picture"]

_POINT = 0.75  # points of a CSS pixel
_LEFT, _WIDE = 0.08, 0.9  # the plotting area in parts of the picture's width
_BELOW, _ABOVE, _HEAD, _ROW = (
    65,
    100,
    32,
    28,
)  # pixels below and above it, for titles of panels, for a row of the legend
_DASHES: dict[str, Any] = {
    "solid": "-",
    "dot": (0, (1, 1.5)),
    "dash": (0, (4, 2.5)),
    "longdash": (0, (8, 3)),
    "dashdot": (0, (4, 2, 1, 2)),
    "longdashdot": (0, (8, 2, 1, 2)),
}
_SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "x": "X",
    "cross": "P",
    "star": "*",
}
_INK, _QUIET, _AXIS = "#3c424d", "#e4e6ea", "#a9aeb8"
_STYLE: Any = {
    "axes.edgecolor": _AXIS,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 14 * _POINT,
    "grid.color": _QUIET,
    "pdf.fonttype": 42,
    "svg.hashsalt": "bnlens",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def picture(fig: go.Figure, kind: str, *, title: str, size: tuple[int, int], scale: int) -> bytes:
    """Return a Plotly figure as the bytes of a picture.

    Args:
        fig: the figure.
        kind: png, svg or pdf.
        title: over it.
        size: width and height in CSS pixels, about: nothing is cut.
        scale: dots per pixel.

    Raises:
        UsageError: the figure has something other than scatter traces.
    """
    if others := sorted({trace.type for trace in fig.data} - {"scatter"}):
        raise UsageError(f"bnlens does not draw traces of type {', '.join(others)} by matplotlib; write a page, .html")
    layout: dict[str, Any] = fig.layout.to_plotly_json()
    traces = [_properties(trace) for trace in fig.data]
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(size[0] / 96, size[1] / 96), dpi=96 * scale, facecolor="white")
        area = _BELOW / size[1], 1 - (_BELOW + _ABOVE) / size[1]  # bottom and height, in parts
        legend: dict[str, Any] = {}
        for axis in sorted({(trace.get("xaxis", "x"), trace.get("yaxis", "y")) for trace in traces}):
            mine = [
                {**trace, "color": color}
                for trace, color in zip(traces, itertools.cycle(template().layout.colorway))
                if (trace.get("xaxis", "x"), trace.get("yaxis", "y")) == axis
            ]
            legend |= _panel(drawn, layout, mine, axis, area)
        notes = [note for note in layout.get("annotations", ()) if note.get("xref") == note.get("yref") == "paper"]
        for note in notes:  # titles of panels
            place = _LEFT + _WIDE * note["x"], area[0] + area[1] * note["y"] + 4 / size[1]
            drawn.text(*place, _plain(note["text"]), ha="center", va="bottom", size=14 * _POINT)
        top = sum(area) + (_HEAD if notes else 4) / size[1]
        if len(legend) > 1:
            columns = 3 if len(legend) > 4 else len(legend)
            handles, labels = list(legend.values()), list(legend)
            drawn.legend(handles, labels, loc="lower left", bbox_to_anchor=(_LEFT, top), ncols=columns, frameon=False)
            top += (16 + _ROW * -(-len(legend) // columns)) / size[1]
        if title:
            drawn.text(_LEFT, top + 12 / size[1], title, size=17 * _POINT, va="bottom")
        file = io.BytesIO()
        made = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]  # equal figures, equal files
        drawn.savefig(file, format=kind, bbox_inches="tight", pad_inches=0.2, metadata=made)
    return file.getvalue()


def _panel(
    drawn: Figure,
    layout: dict[str, Any],
    traces: list[dict[str, Any]],
    axis: tuple[str, str],
    area: tuple[float, float],
) -> dict[str, Any]:
    """Draw the traces on a pair of axes; return what the legend shows of them, by name."""
    x, y = (layout.get(f"{name[0]}axis{name[1:]}", {}) for name in axis)
    (left, right), (bottom, top) = (part.get("domain", (0, 1)) for part in (x, y))
    low, high = area
    axes = drawn.add_axes((_LEFT + _WIDE * left, low + high * bottom, _WIDE * (right - left), high * (top - bottom)))
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    names = {letter: _categories(given, traces, letter) for letter, given in (("x", x), ("y", y))}
    legend, before = {}, np.array([])
    for place, trace in enumerate(traces):
        shift = 0.8 * ((place + 0.5) / len(traces) - 0.5) if layout.get("scattermode") == "group" else 0.0
        at = {
            letter: np.array(
                [names[letter].index(one) + shift for one in trace[letter]] if names[letter] else trace[letter]
            )
            for letter in ("x", "y")
        }
        handle = _draw(axes, trace, at["x"], at["y"].astype(float), before)
        before = at["y"]
        if handle is not None and trace.get("showlegend", True) and trace.get("name"):
            legend[_plain(trace["name"])] = handle
    rules = [
        shape
        for shape in layout.get("shapes", ())
        if axis[0] in shape.get("xref", "x").split() and axis[1] in shape.get("yref", "y").split()
    ]
    for letter, name, given in (("x", axis[0], x), ("y", axis[1], y)):
        axes.set(**{f"{letter}label": _plain((given.get("title") or {}).get("text") or "")})
        if names[letter]:
            _settle_categories(axes, letter, given, names[letter], room=right - left)
        else:
            ends = [
                {letter: [rule[f"{letter}{end}"] for end in (0, 1)]}
                for rule in rules
                if rule.get(f"{letter}ref", name) == name
            ]
            _settle(axes, letter, given, [*traces, *ends])
    for rule in rules:
        _rule(axes, rule, axis)
    return legend


def _draw(axes: Axes, trace: dict[str, Any], x: Any, y: Any, before: Any) -> Any:
    """Draw one trace; return its handle for the legend, None for the edge of a band."""
    line, marker, mode = trace.get("line", {}), trace.get("marker", {}), trace.get("mode", "lines")
    color = line.get("color") or marker.get("color") or trace["color"]
    if trace.get("fill"):
        shade: dict[str, Any] = {"facecolor": _color(trace.get("fillcolor") or color), "linewidth": 0, "zorder": 1.5}
        shade |= {} if trace.get("fillcolor") else {"alpha": 0.5}
        if trace["fill"] == "toself":
            axes.fill(x, y, **shade)
        else:
            axes.fill_between(x, before if trace["fill"] == "tonexty" else 0.0, y, **shade)
    if line.get("width") == 0:
        return None
    symbol, opened, _ = str(marker.get("symbol", "circle")).partition("-open")
    has_markers = "markers" in mode
    tint = _color(marker.get("color") or color)
    return axes.errorbar(
        x,
        y,
        xerr=trace["error_x"],
        yerr=trace["error_y"],
        color=_color(color),
        ecolor=tint,
        elinewidth=1.5 * _POINT,
        capsize=3 * _POINT,
        linestyle=_DASHES.get(line.get("dash", "solid"), "-") if "lines" in mode else "none",
        linewidth=line.get("width", 2.25) * _POINT,
        marker=_SYMBOLS.get(symbol, "o") if has_markers else "none",
        markersize=(marker.get("size") or 8) * _POINT,
        markeredgecolor=tint,
        markerfacecolor="none" if opened else tint,
        zorder=2.5 if has_markers else 2,
    )


def _categories(given: dict[str, Any], traces: Iterable[dict[str, Any]], letter: str) -> list[Any]:
    """Return the categories of an axis in their order; none if it has numbers."""
    found = dict.fromkeys(one for trace in traces for one in trace[letter])
    is_category = given.get("type") == "category" or any(isinstance(one, str) for one in found)
    return list(given.get("categoryarray") or found) if is_category else []


def _settle_categories(axes: Axes, letter: str, given: dict[str, Any], names: list[Any], *, room: float) -> None:
    """Write the categories at an axis: on end where they would not fit into a horizontal one."""
    texts = dict(zip(given.get("tickvals") or (), given.get("ticktext") or (), strict=True))
    labels = [_plain(str(texts.get(name, name))) for name in names]
    ends = (-0.6, len(names) - 0.4)
    axes.set(**{f"{letter}ticks": range(len(names)), f"{letter}ticklabels": labels})
    axes.set(**{f"{letter}lim": ends[::-1] if given.get("autorange") == "reversed" else ends})
    if letter == "x" and sum(len(label) + 2 for label in labels) > 90 * room:
        axes.tick_params(axis="x", rotation=90)


def _settle(axes: Axes, letter: str, given: dict[str, Any], traces: Iterable[dict[str, Any]]) -> None:
    """Set scale, ticks and range of an axis of numbers as the figure says; without a range all there is lies within."""
    axis = axes.xaxis if letter == "x" else axes.yaxis
    is_log = given.get("type") == "log"
    if is_log:
        axes.set(**{f"{letter}scale": "log"})
    else:
        (axes.axvline if letter == "x" else axes.axhline)(0, color=_AXIS, linewidth=_POINT, zorder=1)
    ends = given.get("range") or _ends(traces, letter, is_log=is_log, to_zero=given.get("rangemode") == "tozero")
    if ends is not None:
        axes.set(**{f"{letter}lim": 10 ** np.array(ends, dtype=float) if is_log else ends})
    if given.get("tickvals") is not None:
        axis.set_major_locator(FixedLocator(list(given["tickvals"])))
        axis.set_major_formatter(FixedFormatter([str(text) for text in given.get("ticktext") or given["tickvals"]]))
        axis.set_minor_locator(NullLocator())


def _ends(traces: Iterable[dict[str, Any]], letter: str, *, is_log: bool, to_zero: bool) -> tuple[float, float] | None:
    """Return the range of an axis that holds every value with its error, logarithms on a logarithmic one."""
    found: list[float] = []
    for trace in traces:
        values = np.array(trace.get(letter) or [], dtype=float)
        error = np.array(trace.get(f"error_{letter}") or 0.0, dtype=float)
        for some in (values, values - error, values + error):
            found += [float(value) for value in some if np.isfinite(value) and (value > 0 or not is_log)]
    if not found:
        return None
    low, high = (np.log10(min(found)), np.log10(max(found))) if is_log else (min(found), max(found))
    if to_zero and not is_log:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or 0.5
    return float(low if to_zero and low == 0 else low - room), float(high + room)


def _rule(axes: Axes, shape: dict[str, Any], axis: tuple[str, str]) -> None:
    """Draw a line of the layout."""
    in_x = axes.transData if shape.get("xref", axis[0]) == axis[0] else axes.transAxes
    in_y = axes.transData if shape.get("yref", axis[1]) == axis[1] else axes.transAxes
    line = shape.get("line", {})
    axes.plot(
        [shape["x0"], shape["x1"]],
        [shape["y0"], shape["y1"]],
        color=_color(line.get("color", _INK)),
        linestyle=_DASHES.get(line.get("dash", "solid"), "-"),
        linewidth=line.get("width", 2) * _POINT,
        scalex=False,
        scaley=False,
        transform=blended_transform_factory(in_x, in_y),
        zorder=1.8,
    )


def _properties(trace: Any) -> dict[str, Any]:
    """Return the properties of a trace, its data as lists, which JSON would pack; positions are counted where none are."""
    found: dict[str, Any] = trace.to_plotly_json()
    for letter in ("x", "y"):
        error = trace[f"error_{letter}"].array
        found[letter] = None if trace[letter] is None else list(trace[letter])
        found[f"error_{letter}"] = None if error is None else list(error)
    if found["x"] is None:
        found["x"] = list(range(len(found["y"] or ())))
    return found


def _plain(text: str) -> str:
    """Return text without the tags that Plotly knows."""
    return re.sub(r"<[^>]*>", "", re.sub(r"<br ?/?>", "\n", text))


def _color(text: str) -> Any:
    """Return a colour as matplotlib writes it."""
    if match := re.fullmatch(r"rgba?\(([^)]*)\)", text):
        red, green, blue, *alpha = (float(part) for part in match[1].split(","))
        return (red / 255, green / 255, blue / 255, *alpha)
    return text
