"""Results stored under an earlier code version are found again where the computation is the same.

``earlier.json`` lists, for a function and its present code version, the names and code versions it had before: those were
found to compute the same. An entry whose code version is no longer the present one counts for nothing, and should go.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import import_module, resources
from typing import Any, NamedTuple

from bnlens.runs.job import Job
from bnlens.runs.key import code_version, key_of, with_contents
from bnlens.runs.store import Record

__all__ = ["earlier_keys", "is_current", "present_name"]


class _Entry(NamedTuple):
    """A function by name, its present code version, and pairs of name and code version that it had before."""

    function: str
    code: str
    was: Sequence[Sequence[str]]


def earlier_keys(job: Job, contents: Mapping[str, str] | None = None) -> list[str]:
    """Return the keys under which the result of ``job`` may be stored by earlier code; see `bnlens.runs.key.job_key`."""
    config = with_contents(job.config, contents or {})
    return [key_of(function, config, code) for function, code in _was(job.function_name, code_version(job.function))]


def present_name(function: str) -> str:
    """Return the present ``module:name`` of a function that a record names."""
    return _renamed().get(function, function)


def is_current(record: Record) -> bool:
    """Return whether the source that is installed would compute a record again as it stands."""
    module, _, name = present_name(record.function).partition(":")
    try:
        present: Any = import_module(module)
        for part in name.split("."):
            present = getattr(present, part)
    except (ImportError, AttributeError):
        return False
    version = code_version(present)
    return record.code == version or [record.function, record.code] in _was(f"{module}:{name}", version)


def _was(function: str, code: str) -> Sequence[Sequence[str]]:
    return next((entry.was for entry in _entries() if entry[:2] == (function, code)), ())


@functools.cache
def _entries() -> Sequence[_Entry]:
    text = resources.files("bnlens.runs").joinpath("earlier.json").read_text(encoding="utf-8")
    return [_Entry(**entry) for entry in json.loads(text)]


@functools.cache
def _renamed() -> Mapping[str, str]:
    return {name: entry.function for entry in _entries() for name, _ in entry.was}
