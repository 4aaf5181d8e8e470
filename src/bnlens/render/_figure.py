"""Plotly figures: curves and points with errors in them, and their place inside a page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bnlens.render._look import template
from bnlens.render._number import number
from bnlens.render._text import Html, escape, spoken

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FIGURE_MARK", "add_line", "add_points", "figure", "figure_html", "label_log_axes"]

_LOG_TICKS = [float(f"{digit}e{power}") for power in range(-12, 13) for digit in (1, 2, 5)]
FIGURE_MARK = '<div class="plot"'  # how `page` knows that it needs plotly.js


def add_line(
    fig: go.Figure, name: str, x: Iterable[Any], y: Iterable[float], *, color: str | None = None, **line: Any
) -> None:
    """Draw a curve into a figure, in place; it has a gap where a value is not finite.

    Args:
        fig: the figure.
        name: for the legend.
        x: positions.
        y: values, as many.
        color: of the line; by default the next one of the figure.
        **line: further properties of Plotly's line, such as ``dash``.
    """
    values = [value if math.isfinite(value) else None for value in y]
    fig.add_scatter(x=list(x), y=values, mode="lines", name=name, line={"color": color, **line})


def add_points(
    fig: go.Figure,
    name: str,
    x: Iterable[Any],
    y: Iterable[float],
    stderr: Iterable[float],
    *,
    color: str | None = None,
    **marker: Any,
) -> None:
    """Draw points with error bars of one standard error into a figure, in place.

    Args:
        fig: the figure.
        name: for the legend.
        x: positions.
        y: values, as many.
        stderr: their standard errors.
        color: of the points; by default the next one of the figure.
        **marker: further properties of Plotly's marker, such as ``symbol``.
    """
    bars = {"array": list(stderr)}
    fig.add_scatter(x=list(x), y=list(y), error_y=bars, mode="markers", name=name, marker={"color": color, **marker})


def figure_html(fig: go.Figure, *, label: str = "Figure") -> Html:
    """Return a Plotly figure as an element that the script of `page` draws.

    The figure's data go in as JSON, plotly.js does not: a page holds it once. A figure without a template of its own
    gets the look of bnlens, and logarithmic axes get full labels.

    Args:
        fig: the figure; it is not changed.
        label: text for screen readers.
    """
    import plotly.graph_objects as go

    shown = go.Figure(fig)
    if shown.layout.template == _plotly_template():
        shown.layout.template = template()
    label_log_axes(shown)
    data = shown.to_json().replace("<", "\\u003c")  # "<" occurs inside strings alone; this keeps "</script>" out
    height = int(shown.layout.height or 420)
    return Html(
        f'{FIGURE_MARK} role="group" aria-label="{escape(label)}" style="height:{height}px">'
        f'<script type="application/json">{data}</script></div>'
    )


@lru_cache(maxsize=1)
def _plotly_template() -> go.layout.Template:
    """Return the template of a figure that was given none."""
    import plotly.graph_objects as go

    return go.Figure().layout.template


def figure(fig: go.Figure, *, caption: object, label: str | None = None) -> Html:
    """Return a Plotly figure with its caption.

    Args:
        fig: the figure; it is not changed.
        caption: of the figure.
        label: text for screen readers; by default the caption.
    """
    drawn = figure_html(fig, label=spoken(caption) if label is None else label)
    return Html(f"<figure>\n{drawn}\n<figcaption>{escape(caption)}</figcaption>\n</figure>")


def label_log_axes(fig: go.Figure) -> None:
    """Label 1, 2 and 5 of each decade in full, in place, where Plotly would write single digits beside a power of ten."""
    for axis in (*fig.select_xaxes(), *fig.select_yaxes()):
        if axis.type == "log" and axis.tickvals is None and axis.dtick is None and axis.nticks is None:
            axis.update(tickvals=_LOG_TICKS, ticktext=[number(value) for value in _LOG_TICKS])
