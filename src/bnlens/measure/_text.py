"""Reports as text, for any width: the answer, what is wrong, then the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from bnlens.measure._answer import answer, command, noted, warnings_first
from bnlens.measure._estimate import Estimate
from bnlens.measure._layout import boxed, columns_of_terminal, fitted, wrapped
from bnlens.measure._results import NETWORK, Kind, ReportData
from bnlens.render import number

__all__ = ["LEAST_WIDTH", "provenance", "report_text"]

LEAST_WIDTH = 40

_SHORT = {
    "seconds": "Stopped by max_seconds, short of the precision asked for",
    "samples": "Stopped after {rounds} shuffles of the samples, short of the precision asked for",
}
_LAWS: dict[Kind, str] = {
    "logits": "from logits",
    "first_order": "first order",
    "fisher": "Fisher",
    "two_term": "two-term (paper)",
}
_Table = list[list[str]]


def report_text(report: ReportData, *, verbose: bool = False, width: int | None = None) -> str:
    """Return a report as text.

    Args:
        report: to show.
        verbose: every table whole, in parts where it is wider; else the columns that fit.
        width: in characters, 40 or more; by default that of the terminal, at most 120.
    """
    width = max(LEAST_WIDTH, columns_of_terminal() if width is None else width)
    wrong, explained = warnings_first(report)
    parts = [wrapped(answer(report), width), ""]
    if wrong:
        parts += [boxed("What to mend, the weightiest first", [(noted(n), command(n)) for n in wrong], width), ""]
    parts += [*(wrapped(line, width) for line in provenance(report)), ""]
    left_out = False
    for heading, rows, keys in _tables(report, verbose):
        blocks = fitted(rows, width, keys=keys)
        left_out |= len(blocks) > 1 and not verbose
        parts += [wrapped(heading, width), "\n\n".join(blocks if verbose else blocks[:1]), ""]
    parts.append(wrapped(_origin(report), width))
    if verbose and report.network.running_discrepancy is not None:
        running = f"Loss with running less population statistics: {report.network.running_discrepancy} nats"
        parts.append(wrapped(running, width))
    if left_out:
        parts.append(wrapped("More columns: a wider terminal, or report.table(verbose=True).", width))
    if explained:
        parts += ["", "Notes", *(wrapped(f"- {noted(note)}", width, "  ") for note in explained)]
    return "\n".join(parts)


def _tables(report: ReportData, verbose: bool) -> Iterator[tuple[str, _Table, int]]:
    """Yield each table with its heading and the number of columns that are keys."""
    alone = any(layer.gaps is not None for layer in report.layers)
    gaps = _gap_table(report)
    yield (
        "Gap: mean loss with the statistics of M samples less that with population statistics, nats per sample",
        gaps if alone else [row[1:] for row in gaps],
        1 + alone,
    )
    if verbose and (laws := _law_table(report)):
        yield "Other predictions of the gap, nats per sample", laws, 2
    if any(layer.share for layer in report.layers):
        yield "Share of each layer in the network's gap, nats per sample and per cent", _share_table(report), 1
    if verbose:
        yield "Each BN layer under population statistics", _layer_table(report), 1


def provenance(report: ReportData) -> list[str]:
    """Return what was measured, the model, its layers, the samples and the loss, and a second line if it ended early."""
    layers = f"{len(report.layers)} BN layer{'' if len(report.layers) == 1 else 's'}"
    loss = report.network.population_loss
    measured = f"bnlens report: {report.model}, {layers}, {report.samples} samples, population loss {loss} nats"
    ended = _SHORT.get(report.stopped)
    return [measured, ended.format(rounds=report.rounds)] if ended else [measured]


def _gap_table(report: ReportData) -> _Table:
    table = [["layer", "M", "measured", "predicted", "ratio"]]
    for name, size, gaps in report.gap_rows():
        predicted = gaps.predicted(size, population=gaps.population)
        table.append([_label(name), *map(_text, (size, gaps.measured[size], predicted, gaps.ratio(size)))])
    return table


def _law_table(report: ReportData) -> _Table:
    rows = report.gap_rows()
    laws = {
        kind: [g.predicted(size, kind, population=g.population) for _, size, g in rows]
        for kind in _LAWS
        if kind != report.network.gaps.kind
    }
    laws = {kind: values for kind, values in laws.items() if any(values)}
    table = [["layer", "M", *(_LAWS[kind] for kind in laws)]]
    for (name, size, _), *values in zip(rows, *laws.values(), strict=True):
        table.append([_label(name), str(size), *map(_text, values)])
    return table if laws else []


def _label(name: str) -> str:
    return name if name == NETWORK else f"{name} alone"


def _origin(report: ReportData) -> str:
    gaps = report.network.gaps
    if gaps.kind != "curve":
        return f"predicted: from groups of {gaps.source} samples, scaled to M; ratio: predicted / measured"
    sizes = ", ".join(map(str, sorted({**gaps.measured, **gaps.others})))
    return f"predicted: by a curve through the gaps at the other sizes of {sizes}; ratio: predicted / measured"


def _share_table(report: ReportData) -> _Table:
    sizes = report.statistics_batch_sizes
    rows = [["layer", *(f"M = {size}    %" for size in sizes)]]
    for layer in report.layers:
        pairs = ((layer.share.get(size), report.share_of_gap(layer, size)) for size in sizes)
        rows.append([layer.name, *(_share(share, part) for share, part in pairs)])
    rows.append(["(not attributed)", *(_share(report.network.unattributed.get(size), None) for size in sizes)])
    rows.append([NETWORK, *(_share(report.network.gaps.measured[size], None) for size in sizes)])
    return rows


def _share(share: Estimate | None, part: Estimate | None) -> str:
    per_cent = "" if part is None else f"{100 * part.value:.0f}"
    return f"{_text(share)} {per_cent:>4}"


def _layer_table(report: ReportData) -> _Table:
    headings = ["layer", "channels", "pixels", "eff. samples mu", "eff. samples sigma", "excess kurtosis", "rms gamma"]
    rows = [[*headings, "dead", "stale mu", "stale sigma"]]
    for layer in report.layers:
        effective = layer.effective_samples_mean, layer.effective_samples_std
        cells = layer.channels, layer.pixels, *effective, layer.kurtosis, number(layer.gamma_rms), layer.dead_channels
        rows.append([layer.name, *map(_text, (*cells, layer.stale_mean, layer.stale_std))])
    return rows


def _text(value: object) -> str:
    return "–" if value is None else str(value)
