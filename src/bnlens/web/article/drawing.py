"""Small drawings as SVG: a flat list of marks, so that two states of one figure differ in attributes alone."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bnlens.render import Html, escape

__all__ = ["WIDTH", "Drawing", "Mark", "Panel", "Scale", "patches"]

WIDTH = 440
"""Units across a drawing; a phone shows nearly as many pixels, so text keeps its size."""

Numbers = Iterable[float | None]
Anchor = Literal["start", "middle", "end"]


class Mark(NamedTuple):
    """An SVG element without children but for its text, or for a part that no state changes."""

    tag: str
    attributes: Mapping[str, str]
    text: str = ""

    def svg(self) -> str:
        """Return the element."""
        attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in self.attributes.items())
        return f"<{self.tag}{attributes}>{escape(self.text)}</{self.tag}>"


@dataclass(frozen=True)
class Drawing:
    """One state of a figure: its marks, and what it shows in a sentence or two."""

    height: int
    marks: Sequence[Mark]
    caption: str = ""

    def svg(self, label: str) -> Html:
        """Return the drawing as one picture with a name for those who do not see it."""
        marks = "\n".join(mark.svg() for mark in self.marks)
        return Html(
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(label)}">\n{marks}\n</svg>'
        )


@dataclass(frozen=True)
class Scale:
    """From values to places along one side of a panel; values beyond the ends go to the ends."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = (
            map(math.log, (self.low, self.high, max(value, 1e-300))) if self.log else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * min(max((value - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True)
class Panel:
    """A rectangle with two scales. Looks are classes of the style sheet, the colour by what is shown."""

    x: Scale
    y: Scale

    def axes(self, x: Sequence[float], y: Sequence[float], x_title: str, y_title: str) -> list[Mark]:
        """Return grid lines, ticks at values with their labels, and the titles: that of y stands above the axis."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        lines = [f"M{_at(left)} {_at(self.y(value))}H{_at(right)}" for value in y]
        marks = [
            _mark("path", "grid", d="".join(lines)),
            _mark("path", "axis", d=f"M{_at(left)} {_at(bottom)}H{_at(right)}"),
        ]
        marks += [self.tick(value, self.x(value), bottom + 15, "middle") for value in x]
        marks += [self.tick(value, left - 6, self.y(value) + 4, "end") for value in y]
        marks.append(self.note(x_title, right, bottom + 31, anchor="end"))
        marks.append(self.note(y_title, left if x_title else 0, top - 9))
        return marks

    def line(self, x: Numbers, y: Numbers, look: str) -> Mark:
        """Return a curve."""
        return _mark("path", f"line {look}", d=_path(self._points(x, y)))

    def band(self, x: Sequence[float], low: Numbers, high: Numbers, look: str) -> Mark:
        """Return the area between two curves."""
        there, back = self._points(x, high), self._points(x, low)
        return _mark("path", f"band {look}", d=f"{_path([*there, *back[::-1]])}Z" if there else "")

    def dots(self, x: Numbers, y: Numbers, look: str) -> Mark:
        """Return points, as one path of strokes without length."""
        return _mark("path", f"dots {look}", d="".join(f"M{_at(a)} {_at(b)}h.01" for a, b in self._points(x, y)))

    def bars(self, x: Sequence[float], y: Sequence[float], stderr: Sequence[float], look: str) -> Mark:
        """Return bars of two standard errors to either side."""
        low, high = ([b + sign * 2 * e for b, e in zip(y, stderr, strict=True)] for sign in (-1, 1))
        ends = zip(self._points(x, low), self._points(x, high), strict=True)
        return _mark("path", f"line {look} bars", d="".join(f"M{_at(a)} {_at(b)}V{_at(c)}" for (a, b), (_, c) in ends))

    def upright(self, x: float, look: str) -> Mark:
        """Return a line from the bottom to the top."""
        return _mark("path", f"line {look}", d=f"M{_at(self.x(x))} {_at(self.y.start)}V{_at(self.y.end)}")

    @classmethod
    def tick(cls, value: float, x: float, y: float, anchor: Anchor) -> Mark:
        """Return a value as text at a place of the drawing."""
        return cls.note(f"{value:g}".replace("-", "−"), x, y, look="tick", anchor=anchor)

    @staticmethod
    def note(text: str, x: float, y: float, *, look: str = "label", anchor: Anchor = "start") -> Mark:
        """Return a text at a place of the drawing."""
        return Mark("text", {"class": look, "x": _at(x), "y": _at(y), "text-anchor": anchor}, text)

    def _points(self, x: Numbers, y: Numbers) -> list[tuple[float, float]]:
        """Return the places of those points that are known and not beyond the sides."""
        known = ((a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None)
        return [(self.x(a), self.y(b)) for a, b in known if self.x.low <= a <= self.x.high]


def patches(drawings: Sequence[Drawing]) -> dict[str, list[object]]:
    """Return what tells the states of a figure apart.

    Returns:
        ``columns``: pairs of a mark's place and an attribute, "" for its text; ``rows``: for each state the values of the
        columns, as places in ``values``; ``captions``: for each state.

    Raises:
        ValueError: the states have different marks.
    """
    if len({tuple((mark.tag, *mark.attributes) for mark in one.marks) for one in drawings}) > 1:
        raise ValueError("the states of a figure must have the same marks, empty ones where one has less to show")
    table = [
        {
            (at, name): value
            for at, mark in enumerate(one.marks)
            for name, value in {**mark.attributes, "": mark.text}.items()
        }
        for one in drawings
    ]
    columns = [key for key in table[0] if len({row[key] for row in table}) > 1]
    values = list(dict.fromkeys(row[key] for row in table for key in columns))
    places = {value: place for place, value in enumerate(values)}
    rows: list[object] = [[places[row[key]] for key in columns] for row in table]
    return {
        "columns": list(columns),
        "values": list(values),
        "rows": rows,
        "captions": [one.caption for one in drawings],
    }


def _mark(tag: str, look: str, **attributes: str) -> Mark:
    return Mark(tag, {"class": look, **attributes})


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_at(a)} {_at(b)}" for a, b in points) if points else ""


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
