"""Runs of claims that a reader starts from a page: one at a time, in a process of its own, seen by every page.

The state lives in the server, so a page may be closed, reloaded or opened twice. A run that is cancelled keeps the jobs it has
finished; the next one goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from anyio import CapacityLimiter
from pydantic import BaseModel

from bnlens._files import write_atomic
from bnlens.claims import Claim, reproduce
from bnlens.errors import BnlensError
from bnlens.runs import Job, Record
from bnlens.web.claims.results import Register
from bnlens.web.errors import BusyError
from bnlens.web.slow import in_process

__all__ = ["Progress", "Run", "Runs"]

_log = logging.getLogger("bnlens.web")


class Progress(BaseModel):
    """How far a run has come: its jobs (0 until they are planned), those stored now, the share of the work that is done."""

    jobs: int = 0
    done: int = 0
    fraction: float = 0.0


class Run(Progress):
    """One run, with one sentence per failure."""

    claim: str
    page: str
    status: Literal["running", "done", "failed", "cancelled"] = "running"
    seconds: float = 0.0
    errors: list[str] = []


class Runs:
    """Starts, watches and ends runs, one at a time; all from the server's event loop."""

    def __init__(self, folder: Path, register: Register) -> None:
        self._folder = folder
        self._register = register
        self._told = folder / "run.progress"
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = 0.0

    def current(self) -> Run | None:
        """Return the run that goes on, else the last one."""
        if self._run is not None and self.is_running():
            told = Progress()
            with contextlib.suppress(OSError, ValueError):  # nothing was told yet
                told = Progress.model_validate_json(self._told.read_text(encoding="utf-8"))
            self._run = self._run.model_copy(update={**dict(told), "seconds": round(time.monotonic() - self._begun, 1)})
        return self._run

    def is_running(self) -> bool:
        """Whether a run goes on."""
        return self._run is not None and self._run.status == "running"

    async def start(self, claim: Claim, *, again: bool = False) -> None:
        """Start a run of a claim at scale quick; ``again`` computes what is stored, too.

        Raises:
            BusyError: one goes on already.
        """
        if self._run is not None and self.is_running():
            rule = "and one claim runs at a time: wait until it has ended, or cancel it."
            raise BusyError(f"{self._run.claim} is being computed, {rule}")
        self._told.unlink(missing_ok=True)  # of a server that was killed
        self._run, self._begun = Run(claim=claim.id, page=f"/claims/{claim.id}"), time.monotonic()
        self._task = asyncio.create_task(self._follow(claim.id, again))

    async def cancel(self) -> None:
        """End the run that goes on, if any, with its workers; return when it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _follow(self, claim_id: str, again: bool) -> None:
        status, errors = "done", []
        try:
            asked = (self._register, claim_id, self._folder, self._told, again)
            errors = await in_process(CapacityLimiter(1), _compute, *asked)
        except asyncio.CancelledError:
            status = "cancelled"
        except BnlensError as error:
            errors = [str(error)]
        except RuntimeError as error:
            _log.error("a run of %s failed: %s", claim_id, error)
            errors = ["It ended before it had finished; the terminal that runs this page says more."]
        run = self.current()
        assert run is not None  # noqa: S101 - for the type checker
        self._run = run.model_copy(update={"status": "failed" if errors else status, "errors": errors})
        self._told.unlink(missing_ok=True)


def _compute(register: Register, claim_id: str, folder: Path, told: Path, again: bool) -> list[str]:
    """Run one claim at scale quick in the process of the run, and return its errors."""
    done = reproduce([register()[claim_id]], out=folder, scale="quick", again=again, observer=_Teller(told))
    return list(done.runs[0].errors)


class _Teller:
    """A `bnlens.runs.Observer` that writes to a file how far the run has come."""

    def __init__(self, told: Path) -> None:
        self._path = told
        self._progress = Progress()
        self._cost = self._total = 0.0

    def planned(self, jobs: Sequence[tuple[str, Job]], stored: int) -> None:
        self._total = sum(job.cost for _, job in jobs)
        self._progress = Progress(jobs=stored + len(jobs), done=stored)
        self._tell()

    def started(self, owner: str, job: Job) -> None: ...

    def finished(self, owner: str, job: Job, record: Record) -> None:
        self._progress.done += record.status == "done"
        self._cost += job.cost
        self._progress.fraction = min(self._cost / self._total, 1.0) if self._total else 1.0
        self._tell()

    def _tell(self) -> None:
        write_atomic(self._path, self._progress.model_dump_json())
