"""Claims and findings as plain data, for JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Claim

if TYPE_CHECKING:
    from bnlens.claims._run import ClaimRun

__all__ = ["as_csv", "claim_data", "run_data"]


def claim_data(claim: Claim) -> dict[str, Any]:
    """Return what is known of a claim before it is run; ``parameters`` are those of scale quick."""
    parameters = {} if claim.parameters is None else _json(claim.parameters("quick", None))
    return {**_face(claim), "parameters": parameters}


def run_data(run: ClaimRun) -> dict[str, Any]:
    """Return a claim with its finding as JSON data.

    A claim that could not be judged has None for verdict and numbers, and its ``errors`` say why. Numbers that JSON
    lacks (NaN, infinity) become None.
    """
    finding = run.finding
    names = ("verdict", "measured", "predicted", "stderr", "ratio", "summary", "corrects_paper")
    return {
        **_face(run.claim),
        **{name: _json(getattr(finding, name)) if finding else None for name in names},
        "rows": _json(finding.rows) if finding else [],
        "seconds": run.seconds,
        "jobs": len(run.records),
        "computed": run.computed,
        "errors": list(run.errors),
    }


def _face(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in ("id", "title", "statement", "source", "agreement", "core")}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with one column per name, in order of appearance.

    >>> print(as_csv([{"M": 16, "gap": 0.5}, {"M": 32, "note": "a, b"}]), end="")
    M,gap,note
    16,0.5,
    32,,"a, b"
    """
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return bool(value) if hasattr(value, "dtype") else str(value)  # NumPy's bool is no number
