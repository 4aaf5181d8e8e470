"""Results stored under an earlier code version are found again where the computation is the same.

``earlier.json`` lists, for a function and its present code version, the names and code versions it had before: those were
found to compute the same, for configurations with the entries ``where``. A line whose code version is no longer the present
one counts for nothing, and should go.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from bnlens.runs._worker import load
from bnlens.runs.job import Job
from bnlens.runs.key import code_version, key_of, with_contents
from bnlens.runs.store import Record

__all__ = ["earlier_keys", "earlier_names", "is_current"]


class _Entry(NamedTuple):
    """A function by name, its present code version, and pairs of name and code version that it had before."""

    function: str
    code: str
    was: Sequence[Sequence[str]]
    where: Mapping[str, Any]

    @property
    def counts(self) -> bool:
        """Whether the code version is the present one."""
        return _version(self.function) == self.code


def earlier_keys(job: Job, contents: Mapping[str, str] | None = None) -> list[str]:
    """Return the keys under which the result of ``job`` may be stored by earlier code; see `bnlens.runs.key.job_key`."""
    config = with_contents(job.config, contents or {})
    return [
        key_of(function, config, code)
        for entry in entries()
        if entry.function == job.function_name and entry.counts
        for function, code in entry.was
    ]


def earlier_names(job: Job) -> list[str]:
    """Return the names, ``module:name``, that the function of ``job`` had before."""
    return [name for entry in entries() if entry.function == job.function_name for name, _ in entry.was]


def is_current(record: Record) -> bool:
    """Return whether the source that is installed would compute a record again as it stands."""
    return _version(record.function) == record.code or any(
        entry.counts
        for entry in entries()
        if [record.function, record.code] in entry.was and entry.where.items() <= record.config.items()
    )


@functools.cache
def entries() -> Sequence[_Entry]:
    """Return the lines of the table."""
    text = resources.files("bnlens.runs").joinpath("earlier.json").read_text(encoding="utf-8")
    return [_Entry(**entry) for entry in json.loads(text)]


def _version(function: str) -> str | None:
    """Return the present code version of a function by name, None if there is none."""
    module, _, name = function.partition(":")
    try:
        return code_version(load(module, name))
    except (ImportError, AttributeError):
        return None
