"""The answers of a lab: to the page a figure with numbers and words, to the command line a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bnlens import render
from bnlens._plain import csv_text, plain
from bnlens.labs._parameters import value_text
from bnlens.render import Html

if TYPE_CHECKING:
    from bnlens.render import Figure

__all__ = ["Headline", "Result", "Table", "add_curve", "add_simulated", "call", "join", "records", "simulated_records"]


@dataclass(frozen=True)
class Headline:
    """One number that answers the question.

    ``value`` is None if it does not exist, and may be infinite; ``note`` is a few words, such as the unit.
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
class _Rows:
    rows: Sequence[Mapping[str, Any]]

    def csv(self) -> str:
        """Return the rows as CSV, every digit kept."""
        return csv_text(_underscored(self.rows))


@dataclass(frozen=True, kw_only=True)
class Result(_Rows):
    """The answer at one state.

    Attributes:
        figure: in the look of bnlens.
        caption: the subject of the figure.
        description: the figure in words, for screen readers.
        headlines: the numbers that matter.
        rows: the figure's numbers; a column "X stderr" is the standard error of "X".
        columns: headings by column, errors left out.
        table: caption of the rows.
        code: Python that prints the same numbers.
        notes: limits and conditions of these numbers.
        is_table_open: whether the page shows the rows without being asked.
    """

    figure: Figure
    caption: str
    description: str
    headlines: Sequence[Headline]
    columns: Mapping[str, str]
    table: str
    code: str
    notes: Sequence[str] = ()
    is_table_open: bool = False

    @cached_property
    def figure_html(self) -> Html:
        """The figure as an element of a page."""
        return render.figure(self.figure, caption=self.caption, label=self.description)

    @cached_property
    def table_html(self) -> Html:
        """The rows as a table of the columns that they have."""
        columns = {name: heading for name, heading in self.columns.items() if any(name in row for row in self.rows)}
        return render.table(self.rows, caption=self.table, columns=columns)

    def data(self) -> dict[str, Any]:
        """Return numbers and words as JSON data; null where a number does not exist or is infinite."""
        headlines = [
            {"id": h.id, "label": h.label, "value": plain(h.value), "stderr": plain(h.stderr), "text": h.text}
            for h in self.headlines
        ]
        rows = plain(_underscored(self.rows))
        return {"headlines": headlines, "rows": rows, "notes": list(self.notes), "python": self.code}


@dataclass(frozen=True, kw_only=True)
class Table(_Rows):
    """The answer on the command line.

    ``facts`` are further values, for JSON; ``draw`` makes the figure, to stand under ``title`` and over ``words``.
    """

    facts: Mapping[str, Any]
    title: str
    words: str
    draw: Callable[[], Figure]

    def data(self) -> dict[str, Any]:
        """Return facts and rows as JSON data; null where a number does not exist or is infinite."""
        data: dict[str, Any] = plain({**self.facts, "rows": _underscored(self.rows)})
        return data


def _underscored(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name.replace(" ", "_"): value for name, value in row.items()} for row in rows]


def records(result: object, names: Iterable[str], label: str = "{}") -> list[dict[str, Any]]:
    """Return arrays of a result, by the names of its fields, as rows; the label makes names of columns from them."""
    columns = {label.format(name): getattr(result, name).tolist() for name in names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def simulated_records(result: object, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return arrays of a simulation with their standard errors as rows, each name after the word "simulated"."""
    rows = records(result, [field for name in names for field in (name, f"{name}_stderr")], "simulated {}")
    return [{name.replace("_stderr", " stderr"): value for name, value in row.items()} for row in rows]


def join(rows: Iterable[Mapping[str, Any]], more: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the columns of others, as many, beside theirs."""
    return [{**row, **other} for row, other in zip(rows, more, strict=True)]


def add_curve(figure: Figure, label: str, rows: Sequence[Mapping[str, Any]], x: str, y: str, **line: Any) -> None:
    """Draw the column y of rows over the column x as a line."""
    render.add_line(figure, label, [row[x] for row in rows], [row[y] for row in rows], **line)


def add_simulated(figure: Figure, label: str, rows: Iterable[Mapping[str, Any]], x: str, y: str, **marker: Any) -> None:
    """Draw the points of the rows that have "simulated" y over x, with their standard errors, if there are any."""
    drawn = [row for row in rows if f"simulated {y}" in row]
    if drawn:
        x_values, values, errors = (
            [row[name] for row in drawn] for name in (x, f"simulated {y}", f"simulated {y} stderr")
        )
        render.add_points(figure, label, x_values, values, errors, **marker)


def call(name: str, *arguments: str, **named: Any) -> str:
    """Return a call as a line of Python.

    >>> call("law.gap", "8", statistics="own", scale=0.5)
    'law.gap(8, statistics="own", scale=0.5)'
    """
    texts = (
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value_text(value)}" for key, value in named.items()
    )
    return f"{name}({', '.join((*arguments, *texts))})"
