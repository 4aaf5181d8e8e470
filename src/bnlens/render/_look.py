"""The common look of all figures: a Plotly template, a palette, and the colours of recurring roles."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go
from plotly.basedatatypes import BaseFigure

from bnlens._arguments import shown
from bnlens.errors import UsageError

__all__ = ["FONT", "PALETTE", "ROLES", "figure_or_new", "new_figure", "template"]

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

# Middle tones: at least 3:1 on the light and on the dark ground of a page, and told apart with every kind of colour
# vision; found by search under these two conditions.
PALETTE = ("#2b6fe0", "#d9720c", "#775c86", "#be3316", "#8a8f98")

# The same three things stand side by side in most figures; dash and symbol repeat what the colour says.
ROLES = MappingProxyType(
    {
        "measured": MappingProxyType({"color": PALETTE[0], "dash": "solid", "symbol": "circle"}),
        "predicted": MappingProxyType({"color": PALETTE[1], "dash": "solid", "symbol": "diamond"}),
        "paper": MappingProxyType({"color": PALETTE[4], "dash": "dash", "symbol": "square"}),
    }
)

_QUIET = "rgba(128, 134, 145, 0.28)"
_LINE = "rgba(128, 134, 145, 0.65)"


def template() -> go.layout.Template:
    """Return the Plotly template of bnlens: transparent ground, quiet grid, the palette, the legend above the plot.

    >>> template().layout.colorway[0]
    '#2b6fe0'
    """
    axis = {
        "automargin": True,
        "gridcolor": _QUIET,
        "linecolor": _LINE,
        "showline": True,
        "ticks": "outside",
        "tickcolor": _LINE,
        "ticklen": 4,
        "title": {"standoff": 10, "font": {"size": 14}},
        "zerolinecolor": _LINE,
        "zerolinewidth": 1,
    }
    layout = {
        "colorway": PALETTE,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 14, "color": "#5c6370"},
        "title": {"font": {"size": 16}, "x": 0, "xref": "paper", "xanchor": "left"},
        "margin": {"l": 56, "r": 16, "t": 48, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "hoverlabel": {"font": {"family": FONT}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _LINE, "activecolor": PALETTE[0]},
        "colorscale": {"sequential": "Viridis", "diverging": "RdBu"},
        "xaxis": axis,
        "yaxis": axis,
    }
    scatter = go.Scatter(marker={"size": 8}, line={"width": 2.25}, error_y={"thickness": 1.5, "width": 4})
    return go.layout.Template(layout=layout, data={"scatter": [scatter]})


@lru_cache(maxsize=1)
def _shared_template() -> go.layout.Template:
    """Return the template to build figures from, which copy it: making it anew takes longer than a small figure does."""
    return template()


def figure_or_new(figure: go.Figure | None, *, x: str, y: str) -> go.Figure:
    """Return ``figure``, to draw into, or where it is None a `new_figure` with these titles.

    Raises:
        UsageError: it is neither.
    """
    if figure is not None and not isinstance(figure, BaseFigure):
        raise UsageError(f"figure is {shown(figure)}; it must be a Plotly figure, or None for a new one")
    return new_figure(x=x, y=y) if figure is None else figure


def new_figure(*, x: str, y: str, **layout: Any) -> go.Figure:
    """Return an empty figure in the look of bnlens.

    Args:
        x: title of the horizontal axis, unit included.
        y: title of the vertical axis, unit included.
        **layout: further Plotly layout, for example ``xaxis_type="log"``.

    >>> new_figure(x="statistics batch size M", y="gap (nats per sample)").layout.xaxis.title.text
    'statistics batch size M'
    """
    return go.Figure(layout={"template": _shared_template(), "xaxis_title_text": x, "yaxis_title_text": y, **layout})
