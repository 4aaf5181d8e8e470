"""Runs jobs on a worker of a Dask cluster, which may outlive many runs and many edits of the source."""

from __future__ import annotations

import time
from pathlib import Path

from bnlens.runs._worker import Outcome, Task, call, load
from bnlens.runs.key import code_version

__all__ = ["run_task"]

_LOADED = time.time()
_OTHER_VERSION = "runs another version of bnlens; install this one there and restart the worker"


def run_task(task: Task) -> Outcome | str:
    """Run a job, or say why this worker must not: its code is not the code that the key of the result stands for."""
    try:
        is_same = code_version(load(task.module, task.name)) == task.code
    except (ImportError, AttributeError, SyntaxError, OSError):
        is_same = False
    if not is_same or _changed_since_loading():
        return _OTHER_VERSION
    return call(task)


def _changed_since_loading() -> bool:
    """Whether a source file is younger than what this process may have loaded of it."""
    return any(path.stat().st_mtime > _LOADED for path in Path(__file__).parents[1].rglob("*.py"))
