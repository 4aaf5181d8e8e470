"""Reports as JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from bnlens._plain import plain
from bnlens.errors import StoreError
from bnlens.measure._results import Gaps, ReportData

__all__ = ["SCHEMA", "from_json", "from_text", "to_json"]

SCHEMA = 3  # 1 had no shares, 2 no curve

_NAMES = {"exact": "first_order"}  # of schema 2 and before
_Report = TypeVar("_Report", bound=ReportData)


def to_json(report: ReportData) -> str:
    """Return a report as JSON: the fields of its dataclasses, with a schema number; numbers that do not exist are null."""
    return json.dumps({"schema": SCHEMA, "kind": "bnlens report", **plain(report)}, indent=1, allow_nan=False)


def from_json(cls: type[_Report], path: str | os.PathLike[str]) -> _Report:
    """Read what ``to_json`` wrote as an object of ``cls``; errors are those of `Report.load`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise StoreError(f"{path} is not a bnlens report (no valid JSON); write one with Report.to_json") from error
    return from_text(cls, text, str(path))


def from_text(cls: type[_Report], text: str, path: str) -> _Report:
    """Read what ``to_json`` returned; ``path`` is what errors call it, which are those of `Report.loads`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not a bnlens report (no valid JSON); write one with Report.to_json") from error
    if not isinstance(document, dict) or document.get("kind") != "bnlens report":
        raise StoreError(f"{path} is not a bnlens report; write one with Report.to_json")
    schema = document.get("schema")
    if not isinstance(schema, int):
        raise StoreError(f"{path} is damaged (its schema is {schema!r}, not a number); write the report anew")
    if schema > SCHEMA:
        raise StoreError(f"{path} has schema {schema}, newer than {SCHEMA} of this bnlens; update bnlens")
    try:
        result = _build(cls, {key: value for key, value in document.items() if key not in ("schema", "kind")})
        assert isinstance(result, cls)  # noqa: S101 - for the type checker
        _check(result)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(f"{path} is damaged ({error}); write the report anew") from error
    return result


def _check(report: ReportData) -> None:
    """Raise ValueError where numbers that later divide or index cannot be what a report holds."""
    if not report.statistics_batch_sizes:
        raise ValueError("no statistics batch sizes")
    for gaps in (report.network.gaps, *(layer.gaps for layer in report.layers if layer.gaps is not None)):
        if not 2 <= gaps.source < gaps.population:
            raise ValueError(f"predictions from groups of {gaps.source} among {gaps.population} samples")
        count = len({**gaps.measured, **gaps.others})
        if gaps.covariance and {len(gaps.covariance), *map(len, gaps.covariance)} != {count}:
            raise ValueError(f"covariances of other sizes than the {count} measured")
        missing = [size for size in report.statistics_batch_sizes if size not in gaps.measured]
        if missing or min({**gaps.measured, **gaps.others}) < 2:
            raise ValueError(f"no measured gap at M = {missing[0] if missing else min(gaps.measured)}")


def _optional(field: dataclasses.Field[Any]) -> bool:
    """Return whether earlier schemas may lack the field."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _build(annotation: Any, value: Any) -> Any:
    """Return the value of type ``annotation`` that ``plain`` made ``value`` of."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _build(next(arg for arg in args if arg is not type(None)), value)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        hints = typing.get_type_hints(annotation)
        value = {_NAMES.get(name, name): item for name, item in value.items()} if annotation is Gaps else value
        known = [field.name for field in dataclasses.fields(annotation) if field.name in value or not _optional(field)]
        return annotation(**{name: _build(hints[name], value[name]) for name in known})
    if origin is tuple:
        return tuple(_build(args[0], item) for item in value)
    if origin is Mapping:
        return {args[0](key): _build(args[1], item) for key, item in value.items()}
    if annotation is float:
        return math.nan if value is None else float(value)
    if not isinstance(value, annotation):
        raise TypeError(f"{value!r} is not {annotation.__name__}")
    return value
