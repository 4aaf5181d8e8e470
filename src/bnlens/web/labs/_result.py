"""What a lab answers: a figure, the numbers in it, the few that matter, and the Python that gives the same."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnlens import render
from bnlens.render import Html

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Headline", "Result", "plain"]


@dataclass(frozen=True)
class Headline:
    """One number that answers the question.

    Attributes:
        id: stable name.
        label: what it is.
        value: the number; None if it does not exist, infinity allowed.
        stderr: its standard error.
        note: a few words, such as the unit.
    """

    id: str
    label: str
    value: float | int | None
    stderr: float | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """The number as a reader sees it."""
        return render.number(self.value, self.stderr)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The answer at one state.

    Attributes:
        figure: in the look of bnlens.
        caption: what the figure shows.
        description: what can be seen in it, for those who cannot.
        headlines: the numbers that matter.
        rows: the figure's numbers; a column "X stderr" is the standard error of "X".
        columns: headings by column, errors left out.
        table: caption of the rows.
        code: Python that gives the same numbers.
        notes: what to know about these numbers.
    """

    figure: go.Figure
    caption: str
    description: str
    headlines: Sequence[Headline]
    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, str]
    table: str
    code: str
    notes: Sequence[str] = ()

    def figure_html(self) -> Html:
        """The figure as an element of the page."""
        return render.figure(self.figure, caption=self.caption, label=self.description)

    def table_html(self) -> Html:
        """The rows as a table."""
        return render.table(self.rows, caption=self.table, columns=self.columns)

    def csv(self) -> str:
        """The rows as CSV, every digit kept; what does not exist is empty."""
        import csv
        import io

        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, [name.replace(" ", "_") for name in names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name.replace(" ", "_"): _cell(row.get(name)) for name in names} for row in self.rows)
        return text.getvalue()

    def data(self) -> dict[str, Any]:
        """Numbers and words as JSON data; null where a number does not exist or is infinite."""
        return {
            "headlines": [
                {"id": h.id, "label": h.label, "value": plain(h.value), "stderr": plain(h.stderr), "text": h.text}
                for h in self.headlines
            ],
            "rows": [{name.replace(" ", "_"): plain(value) for name, value in row.items()} for row in self.rows],
            "notes": list(self.notes),
            "python": self.code,
        }


def _cell(value: Any) -> Any:
    """A cell of a table that a spreadsheet may open: words that it would take for a formula are quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else plain(value)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it.

    >>> plain(float("inf")), plain(True), plain(2.0)
    (None, True, 2.0)
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
