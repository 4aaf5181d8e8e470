"""Reports as data frames."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from bnlens.measure._estimate import Estimate
from bnlens.measure._results import KINDS, NETWORK, Gaps, ReportData

__all__ = ["gap_columns", "report_frame"]

_DESCRIPTIVE = ("effective_samples_mean", "effective_samples_std", "kurtosis", "stale_mean", "stale_std")


def report_frame(report: ReportData) -> pd.DataFrame:
    """Return one row per (layer, M); columns end in ``_stderr`` where they are the standard error of the column before."""
    sizes = report.statistics_batch_sizes
    gaps = {(name, size): found for name, size, found in report.gap_rows()}
    layers = {NETWORK: None, **{layer.name: layer for layer in report.layers}}
    rows = []
    for (name, layer), size in itertools.product(layers.items(), sizes):
        if layer is not None and not layer.share and layer.gaps is None:
            continue
        row: dict[str, Any] = {
            "layer": name,
            "statistics_batch_size": size,
            **gap_columns(gaps.get((name, size)), size),
        }
        if layer is None:
            row |= _columns("as_loaded", report.network.as_loaded.get(size))
        else:
            row |= _columns("share", layer.share.get(size))
            scale = report.network.gaps.scale(size, report.samples)
            row |= _columns("two_term", None if layer.two_term is None else layer.two_term * scale)
            row |= {"channels": layer.channels, "pixels": layer.pixels}
            for column in _DESCRIPTIVE:
                row |= _columns(column, getattr(layer, column))
            row |= {"gamma_rms": layer.gamma_rms, "dead_channels": layer.dead_channels}
        rows.append(row)
    return pd.DataFrame(rows).set_index(["layer", "statistics_batch_size"])


def gap_columns(gaps: Gaps | None, size: int) -> dict[str, float]:
    """Return the measured and predicted gaps at ``size``, the predictions for the report's own population."""
    row = _columns("measured", None if gaps is None else gaps.measured.get(size)) | _columns("share", None)
    for kind in (None, *KINDS[1:]):
        value = None if gaps is None else gaps.predicted(size, kind, population=gaps.population)
        row |= _columns(kind or "predicted", value)
        if kind is None:
            row |= _columns("ratio", None if gaps is None else gaps.ratio(size))
    return row


def _columns(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {name: float("nan"), f"{name}_stderr": float("nan")}
    return {name: estimate.value, f"{name}_stderr": estimate.stderr}
