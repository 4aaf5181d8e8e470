"""What runs in the process of a run that a reader has started: one claim at scale quick, its progress as lines of JSON.

Started by `bnlens.web.runs`. The first line of standard input says what to run; the end of standard input, as when the server
has gone, ends the run with its workers.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from bnlens.runs import Job, Record

__all__ = ["main"]

_NICENESS = 10


class _Lines:
    """A `bnlens.runs.Observer` that writes lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, event: str, **more: Any) -> None:
        self._stream.write(json.dumps({"event": event, **more}) + "\n")
        self._stream.flush()

    def planned(self, jobs: Sequence[tuple[str, Job]], stored: int) -> None:
        self.say("planned", jobs=len(jobs), stored=stored, cost=sum(job.cost for _, job in jobs))

    def started(self, owner: str, job: Job) -> None:
        self.say("started", job=job.name)

    def finished(self, owner: str, job: Job, record: Record) -> None:
        self.say("finished", job=job.name, cost=job.cost, seconds=record.seconds, done=record.status == "done")


def main() -> None:
    """Run what standard input says."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # pages go first
    lines = _Lines(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # what a library prints is no progress
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_server, daemon=True).start()
    try:
        lines.say("end", errors=_run(order, lines))
    except KeyboardInterrupt:
        lines.say("cancelled")
    except Exception as error:  # noqa: BLE001 - it is the parent's to report
        from bnlens.errors import BnlensError

        if isinstance(error, BnlensError):
            lines.say("end", errors=[str(error)])
        else:
            lines.say("fault", traceback=traceback.format_exc())


def _run(order: Mapping[str, Any], lines: _Lines) -> list[str]:
    from bnlens.claims import reproduce

    module, _, name = order["register"].partition(":")
    claim = getattr(importlib.import_module(module), name)()[order["claim"]]
    done = reproduce([claim], out=Path(order["folder"]), scale="quick", observer=lines)
    return list(done.runs[0].errors)


def _end_with_server() -> None:
    sys.stdin.read()
    if hasattr(os, "killpg"):
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(1)
