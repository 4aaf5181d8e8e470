"""The parts of the figures of claims: panels, points with errors, and curves with bands over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims._claim import Figure
from bnlens.claims._estimate import Estimate

__all__ = ["SYMBOLS", "add_band", "add_estimates", "add_points", "panels"]

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_SIXTH = "#17876d"  # where the palette ends; as dark as its tones


def add_estimates(figure: Figure, name: str, x: Iterable[Any], y: Iterable[Any], **look: Any) -> None:
    """Add points, estimates with their standard errors.

    Args:
        figure: the figure.
        name: for the legend.
        x: positions, numbers, text or estimates.
        y: estimates or numbers, as many.
        **look: further properties of Plotly's scatter trace; by default there are markers alone.
    """
    trace: dict[str, Any] = {"mode": "markers", **look}
    for axis, given in (("x", list(x)), ("y", list(y))):
        if any(isinstance(one, Estimate) for one in given):
            trace |= {axis: [one.value for one in given], f"error_{axis}": {"array": [one.stderr for one in given]}}
        else:
            trace[axis] = given
    figure.add_scatter(name=name, **trace)


def _look(index: int, name: str, panel: tuple[int, int], legend: bool) -> dict[str, Any]:
    from bnlens.render import PALETTE

    colors = (*PALETTE, _SIXTH)
    line = {"color": colors[index % len(colors)], "dash": _DASHES[index % len(_DASHES)]}
    return {"line": line, "showlegend": legend, "legendgroup": name, "row": panel[0], "col": panel[1]}


def panels(titles: Sequence[Sequence[str]], axes: Sequence[Sequence[tuple[str, str]]], *, height: int = 420) -> Figure:
    """Return a figure of panels, a list of titles per row, in the look of bnlens.

    Args:
        titles: of the panels, row by row.
        axes: titles of the horizontal and the vertical axis of each panel, units included.
        height: of the figure in pixels.
    """
    from plotly.subplots import make_subplots

    from bnlens.render import template

    rows, columns = len(titles), len(titles[0])
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[title for row in titles for title in row],
        horizontal_spacing=0.12,
        vertical_spacing=0.2 if rows > 1 else 0.1,
    )
    figure.update_layout(template=template(), height=height, margin={"t": 96})
    figure.update_layout(legend={"y": 1 + 44 / (height - 140), "font": {"size": 13}})
    figure.update_annotations(font={"size": 14})
    for row, row_axes in enumerate(axes, start=1):
        for column, (x, y) in enumerate(row_axes, start=1):
            figure.update_xaxes(title_text=x, row=row, col=column)
            figure.update_yaxes(title_text=y, row=row, col=column)
    return figure


def add_band(
    figure: Figure,
    values: NDArray[np.float64],
    *,
    name: str,
    index: int,
    x: Iterable[Any] | None = None,
    panel: tuple[int, int] = (1, 1),
    legend: bool = True,
) -> None:
    """Add a curve, the mean over seeds, with a band of one standard error on both sides.

    Args:
        figure: of :func:`panels`.
        values: (seeds, T).
        name: of the curve; curves of one name are switched on and off together.
        index: of the series, which sets its colour and dash.
        x: positions, (T,); by default epochs, from 1.
        panel: row and column, from 1.
        legend: whether the legend lists it.
    """
    mean = values.mean(0)
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(mean)
    x = list(range(1, len(mean) + 1) if x is None else x)
    look = _look(index, name, panel, legend)
    red, green, blue = (int(look["line"]["color"][at : at + 2], 16) for at in (1, 3, 5))
    band = {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},0.2)", "line": {"width": 0}, "hoverinfo": "skip"}
    outline = {"x": [*x, *reversed(x)], "y": [*(mean + error), *(mean - error)[::-1]]}
    figure.add_scatter(**outline, mode="lines", **{**look, **band, "showlegend": False})
    figure.add_scatter(x=x, y=mean, name=name, mode="lines", **look)


def add_points(
    figure: Figure,
    x: Iterable[Any],
    y: Iterable[Estimate],
    *,
    name: str,
    index: int,
    panel: tuple[int, int] = (1, 1),
    legend: bool = True,
    symbol: str | None = None,
    **more: Any,
) -> None:
    """Add points with errors, joined by lines; arguments as in `add_band` and `add_estimates`.

    ``index`` sets the symbol, too, unless ``symbol`` does.
    """
    look = _look(index, name, panel, legend)
    marker = {"color": look["line"]["color"], "symbol": symbol or SYMBOLS[index % len(SYMBOLS)]}
    add_estimates(figure, name, x, y, **{"mode": "lines+markers", "marker": marker, **look, **more})
