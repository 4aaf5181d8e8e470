"""Values as plain data: for JSON, which lacks NaN and infinity, and for CSV, which a spreadsheet may open."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["csv_text", "plain"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(value: Any) -> Any:
    """Return a value as JSON data: None, booleans, whole numbers, finite floats, texts, lists and mappings of these.

    NaN and infinity become None; NumPy's scalars and arrays, tuples and dataclasses become Python's own numbers, lists and
    mappings; anything else becomes its text.

    >>> plain({"gap": float("nan"), "M": (8, float("inf")), "holds": True})
    {'gap': None, 'M': [8, None], 'holds': True}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    return str(value)


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows as CSV, every digit kept.

    None and NaN are empty cells, infinity is ``inf``. A text that a spreadsheet would take for a formula is quoted with an
    apostrophe, unless it is a number.

    Args:
        rows: one mapping of column name to value per row.
        columns: names of the columns in order; by default every name in order of appearance.

    >>> print(csv_text([{"M": 16, "gap": 0.5}, {"M": 32, "note": "=1+1, or so"}]), end="")
    M,gap,note
    16,0.5,
    32,,"'=1+1, or so"
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row)) if columns is None else columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) and not _is_number(value) else value
    is_infinite = isinstance(value, numbers.Real) and math.isinf(value)
    return float(value) if is_infinite else plain(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
