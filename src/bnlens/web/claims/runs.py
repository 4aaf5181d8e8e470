"""Runs of claims that a reader starts from a page: one at a time, in a process of its own, seen by every page.

The state lives in the server, so a page may be closed, reloaded or opened twice. A run that is cancelled keeps the jobs it has
finished; the next one goes on from there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from bnlens.claims import Claim, reproduce
from bnlens.runs import Job, Record
from bnlens.web.claims.results import Register
from bnlens.web.errors import BusyError
from bnlens.web.worker import Kind, Process, Tell

__all__ = ["Progress", "Run", "Runs", "Status"]

Status = Literal["running", "done", "failed", "cancelled"]
_KEPT = 20
_LINES = 8
_PATIENCE = 5.0  # seconds that a cancelled run gets to end its workers itself
_log = logging.getLogger("bnlens.web")


class Progress(BaseModel):
    """How far a run has come."""

    jobs: int = Field(default=0, description="Jobs of the claim; 0 until it is planned.")
    stored: int = Field(default=0, description="Jobs that were stored before it began.")
    done: int = Field(default=0, description="Jobs that are stored now, the ones before included.")
    running: list[str] = Field(default=[], description="Names of the jobs at work.")
    fraction: float = Field(default=0.0, ge=0, le=1, description="Share of the expected work that is done.")
    recent: list[str] = Field(default=[], description="The last jobs that ended, one line each.")


@dataclass(kw_only=True)
class Run:
    """One run, with an id counted from 1 since the server began and one sentence per failure.

    ``started`` and ``ended`` are in ISO 8601, UTC; the latter is empty while it runs.
    """

    id: int
    claim: Claim
    status: Status = "running"
    started: str = field(default_factory=lambda: _now())
    ended: str = ""
    progress: Progress = field(default_factory=Progress)
    errors: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        """Time since it began, until it ended."""
        return time.monotonic() - self.begun if self.status == "running" else self.spent


class Runs:
    """Starts, watches and ends runs.

    Streams of progress end when ``stopping`` is set; ``version`` grows with every change of the current run.
    """

    def __init__(self, folder: Path, register: Register) -> None:
        self._folder = folder
        self._register = register
        self._lock = threading.Lock()
        self._runs: deque[Run] = deque(maxlen=_KEPT)
        self._process = Process()
        self._follower = threading.Thread()
        self._cancelled = False
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
                rule = "and one claim runs at a time: wait until it has ended, or cancel it."
                raise BusyError(f"{current.claim.id} is being computed, {rule}")
            self._count += 1
            self._cancelled, self._process = False, Process()
            self._process.start()
            run = Run(id=self._count, claim=claim)
            self._runs.appendleft(run)
            self.version += 1
            self._follower = threading.Thread(target=self._follow, args=(run, self._process), daemon=True)
            self._follower.start()
            return run

    def cancel(self) -> Run | None:
        """End the run that goes on, if any, with its workers; return when it has ended."""
        with self._lock:
            run, process, follower = self.current, self._process, self._follower
            if run is None or run.status != "running":
                return run
            self._cancelled = True
        process.interrupt()
        follower.join(_PATIENCE)
        if follower.is_alive():
            process.kill()
            follower.join(_PATIENCE)
        return run

    def close(self) -> None:
        """End the run that goes on, and all streams."""
        self.stopping = True
        self.cancel()

    def _follow(self, run: Run, process: Process) -> None:
        kind, content = process.ask(_compute, self._register, run.claim.id, self._folder, tell=partial(self._note, run))
        code = process.end()
        errors = _errors(run, kind, content, code)
        with self._lock:
            run.spent, run.ended, run.progress.running = time.monotonic() - run.begun, _now(), []
            if errors and self._cancelled:
                run.status = "cancelled"
            else:
                run.status, run.errors = "failed" if errors else "done", errors
            if run.status == "done":
                run.progress.fraction = 1.0
            self.version += 1

    def _note(self, run: Run, progress: Progress) -> None:
        with self._lock:
            run.progress = progress
            self.version += 1


def _errors(run: Run, kind: Kind, content: Any, code: int | None) -> list[str]:
    """Return the reasons why a run did not reach its end, one sentence each."""
    if kind == "result":
        return list(content)
    if kind == "sentence":
        return [content]
    if kind == "traceback":
        _log.error("a run of %s failed:\n%s", run.claim.id, content)
        return ["This is a fault of bnlens, not yours; the terminal that runs it says more."]
    return [f"Its process ended before it had finished (exit code {code}); run it again."]


def _compute(tell: Tell, register: Register, claim_id: str, folder: Path) -> Sequence[str]:
    """Run one claim at scale quick in the process of the run, and return its errors."""
    return reproduce([register()[claim_id]], out=folder, scale="quick", observer=_Teller(tell)).runs[0].errors


class _Teller:
    """A `bnlens.runs.Observer` that tells the server how far the run has come."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._progress = Progress()
        self._cost = self._total = 0.0

    def planned(self, jobs: Sequence[tuple[str, Job]], stored: int) -> None:
        self._total = sum(job.cost for _, job in jobs)
        self._progress = Progress(jobs=stored + len(jobs), stored=stored, done=stored)
        self._tell(self._progress)

    def started(self, owner: str, job: Job) -> None:
        self._progress.running.append(job.name)
        self._tell(self._progress)

    def finished(self, owner: str, job: Job, record: Record) -> None:
        progress, is_done = self._progress, record.status == "done"
        progress.running = [name for name in progress.running if name != job.name]
        progress.done += is_done
        self._cost += job.cost
        progress.fraction = min(self._cost / self._total, 1.0) if self._total else 1.0
        line = f"{job.name}, {record.seconds:.1f} s" if is_done else f"{job.name} failed"
        progress.recent = [*progress.recent, line][-_LINES:]
        self._tell(progress)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
