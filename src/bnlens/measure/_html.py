"""A report as one self-contained HTML page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import plotly.graph_objects as go

from bnlens import render
from bnlens._plain import csv_text
from bnlens.measure._answer import answer, command, warnings_first
from bnlens.measure._estimate import Estimate
from bnlens.measure._frame import gap_columns, report_frame
from bnlens.measure._results import NETWORK, Gaps, Kind, Note, ReportData
from bnlens.measure._serial import to_json
from bnlens.measure._text import provenance
from bnlens.render import ROLES

__all__ = ["gap_by_layer", "gap_by_size", "report_fragment", "report_page", "share_by_layer"]

_PREDICTIONS: tuple[tuple[Kind, str, str], ...] = (
    ("curve", "predicted", "predicted"),
    ("logits", "predicted from logits", "logits"),
    ("first_order", "first order", "first order"),
    ("fisher", "first order, Fisher", "fisher"),
    ("two_term", "two-term (paper)", "paper"),
)
_LOOKS = {
    **ROLES,
    "logits": {"color": render.PALETTE[4], "symbol": "star", "dash": "dashdot"},
    "first order": {"color": render.PALETTE[3], "symbol": "triangle-down", "dash": "longdash"},
    "fisher": {"color": render.PALETTE[2], "symbol": "triangle-up", "dash": "dot"},
}
_SIZES = [
    {"color": color, "symbol": symbol}
    for color, symbol in zip(render.PALETTE, ("circle", "square", "diamond"), strict=False)
]
_GAP = "gap (nats per sample)"
_LEAD = (
    "Gap: the mean loss with the batch statistics of groups of M samples less the mean loss with population statistics, "
    "at fixed weights. It is what batch normalization adds to the training loss as a regulariser."
)


def report_page(report: ReportData) -> str:
    """Return the page: the answer, what is wrong, the network over M, the layers, what describes them, how it was made."""
    alone = any(layer.gaps is not None for layer in report.layers)
    shares = any(layer.share for layer in report.layers)
    wrong, explained = warnings_first(report)
    body = [
        *(
            [render.section("What to mend", f'<div class="finding">{_notes(wrong)}</div>', anchor="mend")]
            if wrong
            else []
        ),
        render.section("Whole network", _network(report), anchor="network"),
        *([render.section("Shares of the layers", _shares(report), anchor="layers")] if shares else []),
        *([render.section("Layers alone", _alone(report), anchor="alone")] if alone else []),
        render.section("What the layers see", _descriptions(report), anchor="descriptions"),
        *([render.section("Notes", _notes(explained), anchor="notes")] if explained else []),
        render.section("How this was made", _details(report), anchor="details"),
    ]
    return render.page(f"Batch normalization in {report.model}", "\n".join(body), description=answer(report))


def report_fragment(report: ReportData) -> str:
    """Return what a notebook shows: the answer, what is wrong, the network's gaps and the shares of the layers."""
    wrong, explained = warnings_first(report)
    frame = 'style="border: 1px solid #a8321f; border-left-width: 4px; padding: 0.5em 1em; margin: 0.5em 0"'
    parts = [
        render.paragraph(answer(report)),
        *([f"<div {frame}><strong>What to mend</strong>{_notes(wrong)}</div>"] if wrong else []),
        _gap_table(report, network=True),
        *([_share_table(report)] if any(layer.share for layer in report.layers) else []),
        *map(render.paragraph, provenance(report)),
        *([_notes(explained)] if explained else []),
    ]
    return "\n".join(['<div class="bnlens">', *parts, "</div>"])


def gap_by_size(gaps: Gaps, predictions: Mapping[int, Estimate] | None = None, name: str = "") -> go.Figure:
    """Return the gap over M: points measured, the curve with two standard errors, other laws, and ``predictions`` named.

    The axis of the gap is logarithmic, but linear where one of them is not above zero.
    """
    measured = {**gaps.measured, **gaps.others}
    marked = predictions or {}
    axis = "log" if all(gap.value > 0 for gap in (*measured.values(), *marked.values())) else "linear"
    figure = render.new_figure(x="statistics batch size M", y=_GAP, xaxis_type="log", yaxis_type=axis)
    lowest, highest = min(*measured, *marked, gaps.source) / 2, max(*measured, *marked, gaps.source) * 2
    steps = sorted({round(lowest * (highest / lowest) ** (step / 60)) for step in range(61)})
    grid = [size for size in steps if 2 <= size < gaps.population]
    if gaps.kind == "curve":
        _add_curve(figure, gaps, [size for size in grid if size not in measured])  # where it would leave that size out
    for kind, label, role in _PREDICTIONS[1:]:
        values = [gaps.predicted(size, kind, population=gaps.population) for size in grid]
        present = [(size, value.value) for size, value in zip(grid, values, strict=True) if value is not None]
        if present:
            line = {key: _LOOKS[role][key] for key in ("color", "dash")}
            x, y = zip(*present, strict=True)
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", name=label, line=line))
    sizes = sorted(gaps.measured)
    if gaps.others:
        look = {**_LOOKS["measured"], "symbol": _LOOKS["measured"]["symbol"] + "-open"}
        figure.add_trace(
            _points(sorted(gaps.others), [v for _, v in sorted(gaps.others.items())], "for predictions", look)
        )
    figure.add_trace(_points(sizes, [gaps.measured[size] for size in sizes], "measured", _LOOKS["measured"]))
    if marked:
        look = {"color": _LOOKS["predicted"]["color"], "symbol": "x"}
        figure.add_trace(_points(list(marked), list(marked.values()), name, look))
    figure.update_xaxes(tickvals=[2**power for power in range(1, 14)])
    return figure


def _add_curve(figure: go.Figure, gaps: Gaps, grid: Sequence[int]) -> None:
    points = [gaps.curve(size, population=gaps.population) for size in grid]
    found = [(size, point.gap) for size, point in zip(grid, points, strict=True) if point is not None]
    x, values = [size for size, _ in found], [gap for _, gap in found]
    color = _LOOKS["predicted"]["color"]
    low = [gap.value - 2 * gap.stderr for gap in values]
    is_log = figure.layout.yaxis.type == "log"
    positive = [value if value > 0 or not is_log else None for value in low]  # what has a place on the axis
    high = [gap.value + 2 * gap.stderr for gap in values]
    edge: dict[str, Any] = {
        "mode": "lines",
        "line": {"width": 0, "color": color},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    figure.add_trace(
        go.Scatter(x=x, y=[min(filter(None, positive), default=None) if v is None else v for v in positive], **edge)
    )
    figure.add_trace(go.Scatter(x=x, y=high, fill="tonexty", **edge))
    line = {"color": color, "dash": _LOOKS["predicted"]["dash"]}
    figure.add_trace(go.Scatter(x=x, y=[gap.value for gap in values], mode="lines", name="predicted", line=line))


def share_by_layer(report: ReportData) -> go.Figure:
    """Return each layer's share in per cent of the network's gap, at each measured M."""
    figure = render.new_figure(x="layer", y="share of the gap (per cent)", scattermode="group", height=440)
    for size, look in zip(report.statistics_batch_sizes, itertools.cycle(_SIZES), strict=False):
        gap = report.network.gaps.measured[size].value
        named = [
            (layer.name, layer.share[size] * (100 / gap)) for layer in report.layers if size in layer.share and gap
        ]
        figure.add_trace(_points([n for n, _ in named], [share for _, share in named], f"M = {size}", look))
    figure.update_xaxes(type="category")
    return figure


def gap_by_layer(report: ReportData, size: int) -> go.Figure:
    """Return the gap of each layer alone at one M, measured and predicted side by side."""
    figure = render.new_figure(x="layer", y=_GAP, scattermode="group", height=440)
    named = [(layer.name, layer.gaps) for layer in report.layers if layer.gaps is not None]
    names = [name for name, _ in named]
    measured = [gaps.measured[size] for _, gaps in named]
    figure.add_trace(_points(names, measured, f"measured, M = {size}", _LOOKS["measured"]))
    for kind, label, role in _PREDICTIONS:
        values = [gaps.predicted(size, kind, population=gaps.population) for _, gaps in named]
        present = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
        if present:
            figure.add_trace(_points([n for n, _ in present], [v for _, v in present], label, _LOOKS[role]))
    figure.update_xaxes(type="category")
    return figure


def _points(x: Sequence[Any], estimates: Sequence[Estimate], name: str, look: Mapping[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=[estimate.value for estimate in estimates],
        error_y={"array": [estimate.stderr for estimate in estimates]},
        mode="markers",
        name=name,
        marker={"color": look["color"], "symbol": look["symbol"]},
    )


def _network(report: ReportData) -> str:
    gaps = report.network.gaps
    curves = (
        "Curve: through the gaps at the nearest sizes, band of two standard errors."
        if gaps.kind == "curve"
        else f"Curves: predicted from groups of {gaps.source} samples, scaled with the variance of the batch mean."
    )
    caption = (
        f"The gap of all {len(report.layers)} BN layers together. Points: measured, with standard errors. {curves}"
    )
    figure = render.figure(gap_by_size(gaps), caption=caption)
    return f"{render.paragraph(_LEAD)}\n{figure}\n{_gap_table(report, network=True)}"


def _shares(report: ReportData) -> str:
    caption = (
        "Each layer's share in the gap of the network: shares add up to it. A negative share takes out what the noise of "
        "earlier layers put in."
    )
    figure = render.figure(share_by_layer(report), caption=caption)
    return f'{figure}\n{_share_table(report)}\n<p class="downloads">{_download(report)}</p>'


def _share_table(report: ReportData) -> str:
    headings = {"layer": "Layer"}
    rows: list[dict[str, Any]] = [{"layer": layer.name} for layer in report.layers]
    rows += [{"layer": "(not attributed)"}, {"layer": NETWORK}]
    for size in report.statistics_batch_sizes:
        headings |= {f"share {size}": f"M = {size}", f"part {size}": "Per cent"}
        gap = report.network.gaps.measured[size]
        values = [*(layer.share.get(size) for layer in report.layers), report.network.unattributed.get(size), gap]
        parts = [*(report.share_of_gap(layer, size) for layer in report.layers), None, None]
        for row, value, part in zip(rows, values, parts, strict=True):
            row |= {} if value is None else {f"share {size}": value.value, f"share {size} stderr": value.stderr}
            row |= {} if part is None else {f"part {size}": 100 * part.value, f"part {size} stderr": 100 * part.stderr}
    return str(render.table(rows, caption="Shares, nats per sample", columns=headings))


def _alone(report: ReportData) -> str:
    size = report.statistics_batch_sizes[0]
    caption = (
        f"The gap of each layer alone at M = {size}, all others on population statistics. These do not add up to the "
        "network: later layers normalise away what earlier noise has in common."
    )
    return f"{render.figure(gap_by_layer(report, size), caption=caption)}\n{_gap_table(report, network=False)}"


def _gap_table(report: ReportData, *, network: bool) -> str:
    """Return the gaps of the network or of the layers alone, in the columns that have a value."""
    rows = _gap_rows(report, network=network)
    columns = {key: text for key, text in _GAP_HEADINGS.items() if any(row.get(key) is not None for row in rows)}
    caption = f"{'Whole network' if network else 'Layers alone'}, nats per sample"
    return str(render.table(rows, caption=caption, columns=columns))


_GAP_HEADINGS = {
    "layer": "Layer",
    "M": "M",
    "measured": "Measured",
    "predicted": "Predicted",
    "ratio": "Predicted / measured",
    "logits": "From logits",
    "first_order": "First order",
    "fisher": "First order, Fisher",
    "two_term": "Two-term (paper)",
}


def _gap_rows(report: ReportData, *, network: bool) -> list[dict[str, Any]]:
    rows = []
    for name, size, gaps in report.gap_rows():
        if (gaps is report.network.gaps) != network:
            continue
        columns = {key.replace("_stderr", " stderr"): value for key, value in gap_columns(gaps, size).items()}
        columns = {key: value for key, value in columns.items() if not math.isnan(value)}
        rows.append({"layer": name, "M": size, **columns})
    return rows


def _descriptions(report: ReportData) -> str:
    headings = {
        "layer": "Layer",
        "kind": "Class",
        "channels": "Channels",
        "pixels": "Pixels",
        "effective_samples_mean": "Effective samples per sample, μ",
        "effective_samples_std": "Effective samples per sample, σ",
        "kurtosis": "Excess kurtosis",
        "gamma_rms": "rms γ",
        "dead_channels": "Dead channels",
        "stale_mean": "Staleness of μ",
        "stale_std": "Staleness of σ",
    }
    rows = []
    for layer in report.layers:
        row: dict[str, Any] = {"layer": layer.name}
        for name in list(headings)[1:]:
            value = getattr(layer, name)
            row[name] = getattr(value, "value", value)
            row[f"{name} stderr"] = getattr(value, "stderr", None)
        rows.append(row)
    explanation = (
        "Effective samples: how many independent values one sample contributes to the batch mean and deviation; pixels of one "
        "image are correlated. Staleness: root mean square over channels of (running mean - population mean) / population "
        "deviation, and of the logarithm of the ratio of deviations."
    )
    table = render.table(rows, caption="Each BN layer under population statistics", columns=headings)
    return f"{table}\n{render.paragraph(explanation, kind='note')}"


def _notes(notes: Sequence[Note]) -> str:
    items = []
    for note in notes:
        mended = command(note)
        items.append(
            f"<li><strong>{render.escape(note.place or 'Network')}</strong> "
            f"({render.escape(note.kind)}): {render.escape(note.text)}"
            + (f"<br><code>{render.escape(mended)}</code></li>" if mended else "</li>")
        )
    return "<ul>\n" + "\n".join(items) + "\n</ul>"


def _from(report: ReportData) -> str:
    gaps = report.network.gaps
    sizes = sorted({**gaps.measured, **gaps.others}) if gaps.kind == "curve" else [gaps.source]
    return ", ".join(map(str, sizes)) + (", never of the size itself" if gaps.kind == "curve" else "")


def _details(report: ReportData) -> str:
    discrepancy = report.network.running_discrepancy
    running = "no running statistics" if discrepancy is None else f"{discrepancy} nats"
    details = {
        "Samples": report.samples,
        "Population loss": f"{report.network.population_loss} nats",
        "Loss with running less population statistics": running,
        "Predicted from groups of": _from(report),
        "Shuffles of the samples": report.rounds,
        "Stopped by": report.stopped,
        "Passes until the population statistics stood still": report.population_passes,
        "Likelihood": report.likelihood or "not known: no Fisher and no two-term values",
        "Seed": report.seed,
        "Seconds": report.seconds,
        "bnlens": report.version,
        "Made": report.created,
    }
    return str(render.definitions(details))


def _download(report: ReportData) -> str:
    rows = cast("list[dict[str, Any]]", report_frame(report).reset_index().to_dict("records"))
    table = render.download(
        csv_text(rows), filename="bnlens-report.csv", label="All numbers (CSV)", media_type="text/csv"
    )
    document = render.download(
        to_json(report), filename="bnlens-report.json", label="The report (JSON)", media_type="application/json"
    )
    return f"{table} {document}"
