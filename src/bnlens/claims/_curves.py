"""Figures of several panels: curves with bands over seeds, and points with errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims._claim import Figure
from bnlens.claims._estimate import Estimate

__all__ = ["DASHES", "SYMBOLS", "Panel", "add_band", "add_points", "color", "panels"]

Panel = tuple[int, int]
"""Row and column, from 1."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_SIXTH = "#17876d"  # where the palette ends; as dark as its tones


def color(index: int) -> str:
    """The colour of a series: the palette's, then one more."""
    from bnlens.render import PALETTE

    colors = (*PALETTE, _SIXTH)
    return colors[index % len(colors)]


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
    panel: Panel = (1, 1),
    legend: bool = True,
) -> None:
    """Add a curve, the mean over seeds, with a band of one standard error on both sides.

    Args:
        figure: of :func:`panels`.
        values: (seeds, T).
        name: of the curve; curves of one name are switched on and off together.
        index: of the series, which sets its colour and dash.
        x: positions, (T,); by default epochs, from 1.
        panel: where it goes.
        legend: whether the legend lists it.
    """
    mean = values.mean(0)
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(mean)
    x = list(range(1, len(mean) + 1) if x is None else x)
    tone = color(index)
    red, green, blue = (int(tone[at : at + 2], 16) for at in (1, 3, 5))
    row, column = panel
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*(mean + error), *(mean - error)[::-1]],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.2)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
        row=row,
        col=column,
    )
    figure.add_scatter(
        x=x,
        y=mean,
        name=name,
        mode="lines",
        line={"color": tone, "dash": DASHES[index % len(DASHES)]},
        showlegend=legend,
        legendgroup=name,
        row=row,
        col=column,
    )


def add_points(
    figure: Figure,
    x: Sequence[Any],
    estimates: Sequence[Estimate],
    *,
    name: str,
    index: int,
    panel: Panel = (1, 1),
    legend: bool = True,
    lines: bool = True,
) -> None:
    """Add points with errors, joined by lines or not.

    Args:
        figure: of :func:`panels`.
        x: positions; text on a category axis.
        estimates: values with standard errors.
        name: of the series; series of one name are switched on and off together.
        index: of the series, which sets its colour, dash and symbol.
        panel: where they go.
        legend: whether the legend lists them.
        lines: whether to join them.
    """
    row, column = panel
    figure.add_scatter(
        x=list(x),
        y=[one.value for one in estimates],
        error_y={"array": [one.stderr for one in estimates]},
        name=name,
        mode="lines+markers" if lines else "markers",
        line={"color": color(index), "dash": DASHES[index % len(DASHES)]},
        marker={"color": color(index), "symbol": SYMBOLS[index % len(SYMBOLS)]},
        showlegend=legend,
        legendgroup=name,
        row=row,
        col=column,
    )
