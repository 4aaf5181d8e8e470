"""Runs of claims that a reader starts from a page: one at a time, in a process of its own, seen by every page.

The state lives in the server, so a page may be closed, reloaded or opened twice. A run that is cancelled keeps the jobs it has
finished; the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from bnlens.claims import Claim
from bnlens.errors import BnlensError
from bnlens.web.results import Register

__all__ = ["BusyError", "Run", "Runs", "Status"]

Status = Literal["running", "done", "failed", "cancelled"]
_KEPT = 20
_LINES = 8
_PATIENCE = 5.0  # seconds that a cancelled run gets to end its workers itself
_log = logging.getLogger("bnlens.web")


class BusyError(BnlensError):
    """Another run is going on; the status is 409."""


@dataclass(kw_only=True)
class Run:
    """One run.

    Attributes:
        id: counted from 1 since the server began.
        claim: the claim.
        status: how it stands.
        started: ISO 8601, UTC.
        ended: likewise; empty while it runs.
        jobs: jobs of the claim; 0 until it is planned.
        stored: those that were stored before.
        done: those stored now, the ones before included.
        running: names of the jobs at work.
        fraction: share of the expected work that is done, in [0, 1].
        recent: the last jobs that ended, one line each.
        errors: one sentence per failure.
    """

    id: int
    claim: Claim
    status: Status = "running"
    started: str = ""
    ended: str = ""
    jobs: int = 0
    stored: int = 0
    done: int = 0
    running: list[str] = field(default_factory=list)
    fraction: float = 0.0
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    errors: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        """Time since it began, until it ended."""
        return time.monotonic() - self.begun if self.status == "running" else self.spent


class Runs:
    """Starts, watches and ends runs.

    Attributes:
        stopping: set when the server ends; streams of progress end then.
        version: grows with every change of the current run.
    """

    def __init__(self, folder: Path, register: Register) -> None:
        self._folder = folder
        self._register = register
        self._lock = threading.Lock()
        self._runs: deque[Run] = deque(maxlen=_KEPT)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._cancelled = False
        self._cost = self._total = 0.0
        self._count = 0
        self.stopping = False
        self.version = 0

    @property
    def current(self) -> Run | None:
        """The run that goes on, else the last one."""
        return self._runs[0] if self._runs else None

    @property
    def all(self) -> list[Run]:
        """The last runs, newest first."""
        return list(self._runs)

    def start(self, claim: Claim) -> Run:
        """Start a run of a claim at scale quick.

        Raises:
            BusyError: one goes on already.
        """
        with self._lock:
            current = self.current
            if current is not None and current.status == "running":
                raise BusyError(
                    f"{current.claim.id} is being computed, and one claim runs at a time: wait until it has ended, or "
                    "cancel it."
                )
            self._count += 1
            self._cancelled, self._cost, self._total = False, 0.0, 0.0
            run = Run(id=self._count, claim=claim, started=_now())
            self._process = self._launch(claim)
            self._runs.appendleft(run)
            self.version += 1
            self._reader = threading.Thread(target=self._follow, args=(run, self._process), daemon=True)
            self._reader.start()
            return run

    def cancel(self) -> Run | None:
        """End the run that goes on, if any, with its workers; return when it has ended."""
        with self._lock:
            run, process, reader = self.current, self._process, self._reader
            if run is None or process is None or reader is None or run.status != "running":
                return run
            self._cancelled = True
        with contextlib.suppress(OSError):
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            _kill(process)
        reader.join(_PATIENCE)
        return run

    def close(self) -> None:
        """End the run that goes on, and all streams."""
        self.stopping = True
        self.cancel()

    def _launch(self, claim: Claim) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from bnlens.web.run_worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,  # Ctrl-C is the server's to handle
            text=True,
            encoding="utf-8",
        )
        order = {
            "register": f"{self._register.__module__}:{self._register.__qualname__}",
            "claim": claim.id,
            "folder": str(self._folder),
        }
        assert process.stdin is not None  # noqa: S101 - for the type checker
        with contextlib.suppress(OSError):  # it died at once; its end says so
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        return process

    def _follow(self, run: Run, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for the type checker
        ended = False
        for line in process.stdout:
            event = json.loads(line)
            with self._lock:
                ended = self._take(run, event) or ended
                self.version += 1
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        with self._lock:
            run.spent, run.ended, run.running = time.monotonic() - run.begun, _now(), []
            if self._cancelled and not (ended and not run.errors):
                run.status, run.errors = "cancelled", []
            elif not ended:
                run.errors.append(f"Its process ended before it had finished (exit code {code}); run it again.")
                run.status = "failed"
            else:
                run.status = "failed" if run.errors else "done"
                run.fraction = 1.0 if run.status == "done" else run.fraction
            self.version += 1

    def _take(self, run: Run, event: Mapping[str, Any]) -> bool:
        """Note one line of progress; return whether it is the last."""
        kind = event["event"]
        if kind == "planned":
            run.stored = run.done = event["stored"]
            run.jobs, self._total = event["stored"] + event["jobs"], event["cost"]
        elif kind == "started":
            run.running.append(event["job"])
        elif kind == "finished":
            with contextlib.suppress(ValueError):
                run.running.remove(event["job"])
            run.done += event["done"]
            self._cost += event["cost"]
            run.fraction = min(self._cost / self._total, 1.0) if self._total else 1.0
            run.recent.append(
                f"{event['job']}, {event['seconds']:.1f} s" if event["done"] else f"{event['job']} failed"
            )
        elif kind == "end":
            run.errors += event["errors"]
            return True
        elif kind == "fault":
            _log.error("a run of %s failed:\n%s", run.claim.id, event["traceback"])
            run.errors.append("This is a fault of bnlens, not yours; the terminal that runs it says more.")
            return True
        return False


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        else:
            process.kill()
    process.wait()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
