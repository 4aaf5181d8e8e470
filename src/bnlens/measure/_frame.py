"""Reports as data frames."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bnlens.measure._estimate import Estimate
from bnlens.measure._results import Gaps, ReportData

__all__ = ["gap_columns", "report_frame"]

_DESCRIPTIVE = ("effective_samples_mean", "effective_samples_std", "kurtosis", "stale_mean", "stale_std")


def report_frame(report: ReportData) -> pd.DataFrame:
    """Return one row per (layer, M); columns end in ``_stderr`` where they are the standard error of the column before."""
    layers = {layer.name: layer for layer in report.layers}
    rows = []
    for name, size, gaps in report.gap_rows():
        row: dict[str, Any] = {"layer": name, "statistics_batch_size": size, **gap_columns(gaps, size)}
        if layer := layers.get(name):
            row |= {"channels": layer.channels, "pixels": layer.pixels}
            for column in _DESCRIPTIVE:
                row |= _columns(column, getattr(layer, column))
            row |= {"gamma_rms": layer.gamma_rms, "dead_channels": layer.dead_channels}
        rows.append(row)
    return pd.DataFrame(rows).set_index(["layer", "statistics_batch_size"])


def gap_columns(gaps: Gaps, size: int) -> dict[str, float]:
    """Return the measured and predicted gaps at ``size``, the predictions for the report's own population."""
    row = _columns("measured", gaps.measured.get(size))
    for kind in ("exact", "fisher", "two_term"):
        row |= _columns(kind, gaps.predicted(size, kind, population=gaps.population))
    return row


def _columns(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {name: float("nan"), f"{name}_stderr": float("nan")}
    return {name: estimate.value, f"{name}_stderr": estimate.stderr}
