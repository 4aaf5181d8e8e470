"""Runs jobs in a worker process."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import multiprocessing
import os
import platform
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bnlens._files import make_folder
from bnlens.errors import BnlensError
from bnlens.runs._environment import limited_threads

__all__ = ["Outcome", "Task", "call", "death", "load", "prepare"]

_PACKAGES = ("bnlens", "torch", "numpy", "scipy", "pandas", "scikit-learn", "plotly")


@dataclass(frozen=True)
class Task:
    """A job on its way to a worker. Plain data: the worker imports the function by name.

    Attributes:
        key: the key of its result.
        code: the code version that the key stands for.
        module: where its function is.
        name: qualified name of the function in that module.
        config: the keyword arguments.
        cost: expected cost, see `bnlens.runs.Job`.
        scratch: folder for what the job wants to find again when it is cut short and runs again.
        threads: threads of the numerical libraries.
    """

    key: str
    code: str
    module: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0
    scratch: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a job ended. Plain data: the exception of a job may not survive the way to another process.

    Attributes:
        seconds: wall-clock time.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
        result: the result as JSON text; None if the job failed.
        error: one sentence if the job failed.
        is_user_error: whether the failure is a `BnlensError`, which the user can mend.
        traceback: where the job failed.
        versions: package name to version, where the job ran.
    """

    seconds: float
    started: str
    finished: str
    result: str | None = None
    error: str | None = None
    is_user_error: bool = False
    traceback: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def prepare() -> None:
    """Set a worker process of the pool up: its output, and its end when the parent has gone."""
    os.dup2(2, 1)  # standard output belongs to the table or the JSON of the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a parent that was killed cannot tell its workers to stop
        os._exit(1)


def load(module: str, name: str) -> Any:
    """Import a function by its module and its qualified name.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has no such function.
    """
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def call(task: Task) -> Outcome:
    """Run one job and tell how it ended; only the death of the process keeps this from returning."""
    started, clock = _now(), time.perf_counter()
    result = error = trace = None
    is_user_error = False
    try:
        with limited_threads(task.threads):
            function = load(task.module, task.name)
            value = function(**task.config, **_scratch(function, task))
        if not isinstance(value, dict):
            raise TypeError(f"a job returns a dict of JSON data, not {type(value).__name__}")
        result = json.dumps(value)
    except BnlensError as raised:
        error, trace, is_user_error = str(raised), traceback.format_exc(), True
    except (Exception, SystemExit) as raised:  # noqa: BLE001 - a job may raise anything, and takes only itself down
        error, trace = " ".join(traceback.format_exception_only(raised)[-1].split()), traceback.format_exc()
    seconds = time.perf_counter() - clock
    return Outcome(seconds, started, _now(), result, error, is_user_error, trace, _versions())


def _scratch(function: Any, task: Task) -> dict[str, Path]:
    """Make the scratch folder and return it as an argument, for a function that asks for one."""
    if task.scratch is None or "scratch" not in inspect.signature(function).parameters:
        return {}
    folder = Path(task.scratch)
    make_folder(folder)
    return {"scratch": folder}


@functools.lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def death(error: str) -> Outcome:
    """Return how a job ended whose worker could not tell it."""
    now = _now()
    return Outcome(seconds=0.0, started=now, finished=now, error=error, versions=_versions())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
