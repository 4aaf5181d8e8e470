"""Stored results as a table, one row per job or one per entry of a series within its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.errors import UsageError
from bnlens.runs.store import Record

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["records_frame", "series_names"]

_FACE = ("claim", "job", "status", "seconds", "started", "finished", "key", "code", "error")


def records_frame(records: Sequence[Record], *, series: str | None = None) -> DataFrame:
    """Return records as a frame.

    Columns are what is known of each job (``claim``, ``job``, ``status``, ``seconds``, ``started``, ``finished``, ``key``,
    ``code``, ``error``), its configuration (``config.NAME``) and its result (``result.NAME``, dicts within by further dots).
    Lists are JSON text.

    Args:
        records: of a results file.
        series: name of an entry of the results that is a list of dicts, such as ``"curve"``: one row per dict in place of the
            whole result. Jobs without it are left out.

    Raises:
        UsageError: no result has such a series; the message names those there are.
    """
    import pandas as pd

    if series is None:
        return pd.DataFrame([{**_face(record), **_flat("result", record.result or {})} for record in records])
    rows = [
        {**_face(record), "index": index, **_flat(series, entry)}
        for record in records
        for index, entry in enumerate(_series(record).get(series, []))
    ]
    if not rows:
        names = series_names(records)
        hint = f"use one of {', '.join(names)}" if names else "there is none in these results"
        raise UsageError(f"no result has a series {series!r}; {hint}")
    return pd.DataFrame(rows)


def series_names(records: Sequence[Record]) -> list[str]:
    """Return the names of the series that the results hold, in order of appearance."""
    return list(dict.fromkeys(name for record in records for name in _series(record)))


def _series(record: Record) -> dict[str, list[Mapping[str, Any]]]:
    return {
        name: value
        for name, value in (record.result or {}).items()
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)
    }


def _face(record: Record) -> dict[str, Any]:
    return {**{name: getattr(record, name) for name in _FACE}, **_flat("config", record.config)}


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_pairs(prefix, values))


def _pairs(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _pairs(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", json.dumps(value) if isinstance(value, (list, tuple)) else value
