"""Plotly figures inside a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bnlens.render._look import template
from bnlens.render._text import Html, escape

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FIGURE_MARK", "figure", "figure_html"]

FIGURE_MARK = '<div class="plot"'  # how `page` knows that it needs plotly.js


def figure_html(fig: go.Figure, *, label: str = "Figure") -> Html:
    """Return a Plotly figure as an element that the script of `page` draws.

    The figure's data go in as JSON, plotly.js does not: a page holds it once. A figure without a template of its own
    gets the look of bnlens.

    Args:
        fig: the figure; it is not changed.
        label: what a screen reader says in place of the drawing.
    """
    import plotly.graph_objects as go

    shown = go.Figure(fig)
    if shown.layout.template == go.Figure().layout.template:
        shown.layout.template = template()
    data = shown.to_json().replace("<", "\\u003c")  # "<" occurs inside strings alone; this keeps "</script>" out
    height = int(shown.layout.height or 420)
    return Html(
        f'{FIGURE_MARK} role="img" aria-label="{escape(label)}" style="height:{height}px">'
        f'<script type="application/json">{data}</script></div>'
    )


def figure(fig: go.Figure, *, caption: object) -> Html:
    """Return a Plotly figure with its caption, which is also its text for screen readers.

    Args:
        fig: the figure; it is not changed.
        caption: what it shows and what to see in it.
    """
    text = re.sub(r"<[^>]*>", "", caption) if isinstance(caption, Html) else str(caption)
    return Html(f"<figure>\n{figure_html(fig, label=text)}\n<figcaption>{escape(caption)}</figcaption>\n</figure>")
