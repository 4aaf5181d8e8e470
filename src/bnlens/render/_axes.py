"""Logarithmic axes that show every value, with ticks that can be read; positions of a curve."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from bnlens.render._number import number

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["dense", "settle_log_axes"]

_FEWEST = 5
_DIGITS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
_BEYOND = 3  # decades past the values that have ticks, for who zooms out


def dense(values: Iterable[float], count: int = 200) -> list[float]:
    """Return positions for a smooth curve through ``values``: these, in order, and about ``count`` more between them.

    >>> dense([0, 1, 10], 4)
    [0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 4.0, 7.0, 10.0]
    """
    ends = sorted({float(value) for value in values})
    steps = 1 + math.ceil(count / max(1, len(ends) - 1))
    between = [low + (high - low) * step / steps for low, high in itertools.pairwise(ends) for step in range(steps)]
    return [*between, *ends[-1:]]


def settle_log_axes(fig: go.Figure) -> None:
    """Make logarithmic axes show all there is, in place.

    An axis with a value at or below zero, which has no place on it, becomes linear; errors alone may reach there. The others
    get at least five ticks where the values lie, labelled in full: Plotly would write single digits beside a power of ten.
    Ticks that a figure has are kept.

    >>> from bnlens.render import new_figure
    >>> fig = new_figure(x="M", y="gap", xaxis_type="log", yaxis_type="log").add_scatter(x=[8, 9, 12], y=[-0.1, 0.2, 1])
    >>> settle_log_axes(fig)
    >>> fig.layout.yaxis.type, [tick for tick in fig.layout.xaxis.tickvals if 8 <= tick <= 12]
    ('linear', [8.0, 8.5, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0])
    """
    for letter, axes in (("x", fig.select_xaxes()), ("y", fig.select_yaxes())):
        for axis in axes:
            if axis.type != "log":
                continue
            values = list(_values(fig, letter, axis.plotly_name.replace("axis", "")))
            if values and min(values) <= 0:
                axis.update(type="linear", tickvals=None, ticktext=None)
            elif values and axis.tickvals is None and axis.dtick is None and axis.nticks is None:
                ticks = _log_ticks(min(values), max(values))
                axis.update(tickvals=ticks, ticktext=[number(tick) for tick in ticks])


def _values(fig: go.Figure, letter: str, name: str) -> Iterator[float]:
    """Return the numbers that traces have on an axis, but for the edges of bands, which may be cut."""
    for trace in fig.data:
        has_width = "line" not in trace or trace["line"].width != 0
        if letter in trace and has_width and (trace[f"{letter}axis"] or letter) == name:
            for value in () if trace[letter] is None else trace[letter]:
                if isinstance(value, (int, float, np.number)) and math.isfinite(value):
                    yield float(value)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return the fewest ticks of a logarithmic axis of which five lie between two numbers, and those beyond."""
    decades = range(math.floor(math.log10(low)) - _BEYOND, math.ceil(math.log10(high)) + _BEYOND)
    for digits in _DIGITS:
        ticks = [float(f"{digit}e{power}") for power in decades for digit in digits]
        inside = sum(low <= tick <= high for tick in ticks)
        if inside >= _FEWEST:
            return ticks[:: max(1, inside // 8)] if digits == (1,) else ticks
    return _even_ticks(low, high)


def _even_ticks(low: float, high: float) -> list[float]:
    """Return ticks at even steps, at least five of them between two numbers unless these are all but the same."""
    room = (high - low if high > 1.01 * low else low) / _FEWEST
    power = 10.0 ** math.floor(math.log10(room))
    step = max(digit * power for digit in (1, 2, 5) if digit * power <= room)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{index * step:.12g}") for index in range(max(1, first - 20), last + 20)]
