"""Content keys: a stored result is reused only for the same job, computed by the same code."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bnlens.runs._definitions import definitions
from bnlens.runs._source import Source
from bnlens.runs.job import Job

__all__ = ["code_version", "job_key", "key_of", "with_contents"]

_ROOT = Path(__file__).parents[1]


def job_key(job: Job, contents: Mapping[str, str] | None = None) -> str:
    """Return the key under which the result of ``job`` is stored.

    It is a SHA-256 over the qualified name of its function, its configuration and the `code_version` of the function, so
    jobs that are the same computation share its result. The versions of other packages are recorded with a result, not
    part of its key.

    Args:
        job: the job.
        contents: by data folder, as it stands in the configuration under ``data``, what counts in its place: a
            fingerprint of its content, so that the same images elsewhere are the same computation.

    Raises:
        TypeError: the configuration is not JSON data.
    """
    return key_of(job.function_name, with_contents(job.config, contents or {}), code_version(job.function))


def with_contents(config: Mapping[str, Any], contents: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration with the fingerprint of its data folder in place of the folder."""
    found = dict(config)
    if found.get("data") in contents:
        found["data"] = contents[found["data"]]
    return found


def key_of(function: str, config: Mapping[str, Any], code: str) -> str:
    """Return the key of a function by name, its configuration and its code version."""
    return hashlib.sha256(json.dumps([function, dict(config), code], sort_keys=True).encode()).hexdigest()


def code_version(function: Callable[..., Any], source: Source | None = None) -> str:
    """Return a hash of the source that computes a function of module level.

    It is over the definitions that the names in the function lead to, within bnlens, function by function. Comments, layout,
    docstrings, the type annotations of functions, methods for display, and what only words, draws, stores or announces a
    number do not count.

    Args:
        function: the function.
        source: the source of bnlens; by default the one that is installed.
    """
    if source is None:
        return _installed_version(function.__module__, function.__qualname__)
    found = definitions(source, function.__module__, function.__qualname__)
    return _hash(found)


@functools.cache
def _installed_version(module: str, name: str) -> str:
    return _hash(definitions(_installed(module), module, name))


@functools.cache
def _installed(module: str) -> Source:
    """Return the installed source, with the module of a function from elsewhere."""
    first, *_ = module.split(".")
    if first == _ROOT.name:
        return _ours()
    file = getattr(sys.modules.get(module), "__file__", None)
    return Source(_ROOT, {module: Path(file)} if file else {})


@functools.cache
def _ours() -> Source:
    return Source(_ROOT)


def _hash(found: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()
