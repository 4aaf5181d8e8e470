"""Reports as tables: of plain text, and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnlens.measure._estimate import Estimate
from bnlens.measure._results import NETWORK, Kind, ReportData
from bnlens.render import number

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = ["aligned", "report_table", "report_text"]

_Part = str | list[list[str]]  # a paragraph, or the rows of a table, headings first

_SHORT = {
    "seconds": "Stopped by max_seconds, short of the precision asked for",
    "samples": "Stopped after {rounds} shuffles of the samples, short of the precision asked for",
}


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
        *([_SHORT[report.stopped].format(rounds=report.rounds)] if report.stopped in _SHORT else []),
        "",
        "Gap: mean loss with the statistics of M samples less that with population statistics, nats per sample",
        _gap_table(report),
        _origin(report),
    ]
    if any(layer.share for layer in report.layers):
        parts += [
            "",
            "Share of each layer in the network's gap, nats per sample and per cent of the gap",
            _share_table(report),
        ]
    parts += ["", _layer_table(report)]
    if report.network.running_discrepancy is not None:
        parts += ["", f"Loss with running less population statistics: {report.network.running_discrepancy} nats"]
    if report.notes:
        parts += ["", "Notes", *(f"- {note.place + ': ' if note.place else ''}{note.text}" for note in report.notes)]
    return parts


_LAWS: dict[Kind, str] = {
    "logits": "from logits",
    "first_order": "first order",
    "fisher": "Fisher",
    "two_term": "two-term (paper)",
}


def _gap_table(report: ReportData) -> list[list[str]]:
    rows = report.gap_rows()
    default = report.network.gaps.kind
    laws = {
        kind: [g.predicted(size, kind, population=g.population) for _, size, g in rows]
        for kind in _LAWS
        if kind != default
    }
    laws = {kind: values for kind, values in laws.items() if kind == "two_term" or any(values)}
    table = [["layer", "M", "measured", "predicted", "ratio", *(_LAWS[kind] for kind in laws)]]
    for (name, size, g), *others in zip(rows, *laws.values(), strict=True):
        label = name if name == NETWORK else f"{name} alone"
        predicted = g.predicted(size, population=g.population)
        table.append([label, *map(_text, (size, g.measured[size], predicted, g.ratio(size), *others))])
    return table


def _origin(report: ReportData) -> str:
    gaps = report.network.gaps
    if gaps.kind != "curve":
        return f"predicted: from groups of {gaps.source} samples, scaled to M; ratio: predicted / measured"
    sizes = ", ".join(map(str, sorted({**gaps.measured, **gaps.others})))
    return f"predicted: by a curve through the gaps at the other sizes of {sizes}; ratio: predicted / measured"


def _share_table(report: ReportData) -> list[list[str]]:
    sizes = report.statistics_batch_sizes
    rows = [["layer", *(heading for size in sizes for heading in (f"M = {size}", "%"))]]
    for layer in report.layers:
        pairs = ((layer.share.get(size), report.share_of_gap(layer, size)) for size in sizes)
        rows.append([layer.name, *(cell for share, part in pairs for cell in (_text(share), _per_cent(part)))])
    left = [report.network.unattributed.get(size) for size in sizes]
    measured = [report.network.gaps.measured[size] for size in sizes]
    rows.append(["(not attributed)", *(cell for part in left for cell in (_text(part), ""))])
    rows.append([NETWORK, *(cell for gap in measured for cell in (str(gap), ""))])
    return rows


def _per_cent(part: Estimate | None) -> str:
    return "–" if part is None else f"{100 * part.value:.0f}"


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
