"""Reports as tables: of plain text, and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bnlens.measure._estimate import Estimate
from bnlens.measure._results import ReportData
from bnlens.render import number

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = ["aligned", "prediction_text", "report_table", "report_text"]

_Part = str | list[list[str]]  # a paragraph, or the rows of a table, headings first


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as columns two spaces apart: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def report_text(report: ReportData) -> str:
    """Return the ``repr`` of a report."""
    return "\n".join(part if isinstance(part, str) else aligned(part) for part in _parts(report))


def report_table(report: ReportData) -> Group:
    """Return the content of `report_text` as rich draws it, which fits tables to the width of a terminal."""
    from rich.console import Group
    from rich.text import Text

    return Group(*(Text(part) if isinstance(part, str) else _drawn(part) for part in _parts(report)))


def _drawn(rows: list[list[str]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if index else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))  # a name is no markup
    return table


def _parts(report: ReportData) -> list[_Part]:
    layers = f"{len(report.layers)} BN layer{'' if len(report.layers) == 1 else 's'}"
    parts: list[_Part] = [
        f"bnlens report: {report.model}, {layers}, {report.samples} samples, "
        f"population loss {report.network.population_loss} nats",
        "",
        "Gap: mean loss with the statistics of M samples less that with population statistics, nats per sample",
        _gap_table(report),
        f"predicted: from groups of {report.prediction_batch_size} samples, scaled to M; ratio: predicted / measured",
        "",
        _layer_table(report),
    ]
    if report.network.running_discrepancy is not None:
        parts += ["", f"Loss with running less population statistics: {report.network.running_discrepancy} nats"]
    if report.notes:
        parts += ["", "Notes", *(f"- {note.layer + ': ' if note.layer else ''}{note.text}" for note in report.notes)]
    return parts


def prediction_text(batch_size: int, kind: str, rows: Mapping[str, Estimate]) -> str:
    """Return the table that ``repr`` of a prediction is."""
    table = [["layer", "gap"], *([name, str(estimate)] for name, estimate in rows.items())]
    return f"Gap predicted at M = {batch_size} ({kind}), nats per sample\n{aligned(table)}"


def _gap_table(report: ReportData) -> list[list[str]]:
    rows = [["layer", "M", "measured", "predicted", "ratio", "Fisher", "two-term (paper)"]]
    for name, size, gaps in report.gap_rows():
        kinds = ("exact", "fisher", "two_term")
        exact, fisher, two_term = (gaps.predicted(size, kind, population=gaps.population) for kind in kinds)
        rows.append([name, *map(_text, (size, gaps.measured[size], exact, gaps.ratio(size), fisher, two_term))])
    return rows


def _layer_table(report: ReportData) -> list[list[str]]:
    headings = ["layer", "channels", "pixels", "eff. samples mu", "eff. samples sigma", "excess kurtosis", "rms gamma"]
    rows = [[*headings, "dead", "stale mu", "stale sigma"]]
    for layer in report.layers:
        effective = layer.effective_samples_mean, layer.effective_samples_std
        cells = layer.channels, layer.pixels, *effective, layer.kurtosis, number(layer.gamma_rms), layer.dead_channels
        rows.append([layer.name, *map(_text, (*cells, layer.stale_mean, layer.stale_std))])
    return rows


def _text(value: object) -> str:
    return "–" if value is None else str(value)
