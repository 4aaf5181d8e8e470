"""Plotly figures: curves and points with errors in them, and their place inside a page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bnlens.render._axes import settle_log_axes
from bnlens.render._look import template
from bnlens.render._text import Html, escape, framed, spoken

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FIGURE_MARK", "add_line", "add_points", "category_pairs", "figure", "figure_html"]

_DRAWN = ("bar", "pie", "scatter")  # by the plotly.js of our pages
_PANEL = 22  # rem, of the narrowest that can be read
_CATEGORY = 4.25  # rem, of a label in a group of categories, which plotly.js neither turns nor leaves out
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
    mode = "lines" if len(values) > 1 else "lines+markers"  # one point alone makes no line
    fig.add_scatter(x=list(x), y=values, mode=mode, name=name, line={"color": color, **line})


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
    gets the look of bnlens, logarithmic axes what `settle_log_axes` gives them. Panels side by side and groups of categories
    are scrolled to where a page is too narrow for them.

    Args:
        fig: the figure, of scatter, bar and pie traces; it is not changed.
        label: text for screen readers.

    Raises:
        ValueError: the figure has another kind of trace, for which our pages have no script.
    """
    import plotly.graph_objects as go

    if others := sorted({trace.type for trace in fig.data} - set(_DRAWN)):
        raise ValueError(f"a page cannot draw traces of type {', '.join(others)}; use {', '.join(_DRAWN)}")
    shown = go.Figure(fig)
    if shown.layout.template == _plotly_template():
        shown.layout.template = template()
    settle_log_axes(shown)
    data = shown.to_json().replace("<", "\\u003c")  # "<" occurs inside strings alone; this keeps "</script>" out
    panels = len({axis.domain[0] if axis.domain else 0 for axis in shown.select_xaxes()})
    most = max((len(set(category_pairs(getattr(trace, "x", None)))) for trace in shown.data), default=0)
    width = max(_PANEL * panels if panels > 1 else 0, _CATEGORY * most)
    style = f"height:{int(shown.layout.height or 420)}px" + (f";min-width:{width:g}rem" if width else "")
    element = (
        f'{FIGURE_MARK} role="group" aria-label="{escape(label)}" style="{style}">'
        f'<script type="application/json">{data}</script></div>'
    )
    return framed(element, label) if width else Html(element)


def category_pairs(x: Any) -> list[tuple[Any, Any]]:
    """Return the group and category of each point of a trace at categories in groups, which Plotly has as two lists.

    Args:
        x: positions of a trace; those of an axis of another kind, or None, have no pairs.

    >>> category_pairs([["a", "a", "b"], ["x", "y", "x"]]), category_pairs(["a", "b"])
    ([('a', 'x'), ('a', 'y'), ('b', 'x')], [])
    """
    is_grouped = x is not None and len(x) == 2 and not isinstance(x[0], str) and hasattr(x[0], "__len__")
    return [*zip(*x, strict=True)] if is_grouped else []


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
