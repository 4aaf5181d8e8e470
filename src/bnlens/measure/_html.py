"""A report as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from bnlens import render
from bnlens._plain import csv_text
from bnlens.measure._answer import answer, command, warnings_first
from bnlens.measure._figures import gap_by_layer, gap_by_size, share_by_layer
from bnlens.measure._frame import gap_columns, report_frame
from bnlens.measure._results import NETWORK, Note, ReportData
from bnlens.measure._serial import to_json
from bnlens.measure._text import provenance

__all__ = ["report_fragment", "report_page"]

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
    headings = {key: text for key, text in _GAP_HEADINGS.items() if key != "layer" or not network}
    columns = {key: text for key, text in headings.items() if any(row.get(key) is not None for row in rows)}
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
