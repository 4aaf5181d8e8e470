"""Where labs are computed and remembered: closed forms in threads, all else in worker processes that can be stopped.

Two expensive requests never hold up the cheap ones: they run at low priority in processes of their own, wait in a bounded
queue, end at a time limit, and end when the reader has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread

from bnlens.errors import BnlensError, UsageError
from bnlens.web.errors import GoneError, OverloadedError
from bnlens.web.labs.lab import LABS, Lab, Result, State
from bnlens.web.worker import Process, Tell

__all__ = ["Answer", "Answers", "Limits", "Workers"]

_THREADS = 2  # closed forms at a time: more only take turns


class Answer:
    """A lab's result at a settled state, with its page parts made on first use."""

    def __init__(self, lab: Lab, state: State, result: Result) -> None:
        self.lab, self.state, self.result = lab, state, result
        self._parts: dict[str, str] = {}

    def part(self, name: str, make: Callable[[Answer], str]) -> str:
        """Return a part of the page, which ``make`` makes of this answer the first time."""
        if name not in self._parts:
            self._parts[name] = make(self)
        return self._parts[name]


class Answers:
    """Computes states where they belong and remembers the most recent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = CapacityLimiter(_THREADS)
        self.workers = Workers(limits)

    async def find(self, lab: Lab, state: State, *, gone: Callable[[], Awaitable[bool]]) -> Answer:
        """Return the answer to a settled state, for a reader who is gone when ``gone`` says so.

        Raises:
            UsageError: the library's sentence about this state.
            OverloadedError: it cannot be computed now.
            GoneError: the reader has gone meanwhile.
        """
        key = (lab.id, lab.query(state), lab.stamp(state))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if lab.cost(state) == "instant":
            result = await to_thread.run_sync(lab.compute, state, limiter=self._threads)
        else:
            result = await self.workers.compute(lab, state, gone=gone)
        answer = Answer(lab, state, result)
        with self._lock:
            self._kept[key] = answer
            while len(self._kept) > self._limits.memory:
                self._kept.popitem(last=False)
        return answer


_POLL = 0.2  # seconds between looks at whether the reader is still there
_log = logging.getLogger("bnlens.web")


@dataclass(frozen=True)
class Limits:
    """How much expensive requests may take.

    Attributes:
        workers: processes; one of them is kept free of long jobs if there are several.
        waiting: requests that may wait for one.
        seconds: time that one request may take, waiting included.
        memory: results that are remembered.
    """

    workers: int = 2
    waiting: int = 8
    seconds: float = 60.0
    memory: int = 256


class Workers:
    """A few worker processes, started when they are first needed.

    ``busy`` are those at work, ``asked`` counts requests that run or wait; ``stopping`` stops what runs as the server ends.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: list[Process] = []
        self.busy: list[Process] = []
        self.stopping = False
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="bnlens-worker")
        self._slots = asyncio.Semaphore(limits.workers)
        self._long = asyncio.Semaphore(max(1, limits.workers - 1))
        self.asked = 0

    async def compute(self, lab: Lab, state: State, *, gone: Callable[[], Awaitable[bool]]) -> Result:
        """Compute a settled state of one of `bnlens.web.labs.LABS` in a process; raises as `Answers.find` does.

        Whether the reader has ``gone`` is asked several times a second; the computation is stopped then.
        """
        if self.asked >= self._limits.workers + self._limits.waiting:
            raise OverloadedError("Too many simulations are waiting: try again in a minute, or without simulation.")
        self.asked += 1
        task = asyncio.create_task(self._queued(lab, state))
        try:
            return await self._watched(task, gone)
        finally:
            self.asked -= 1
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BnlensError):
                await task

    async def _watched(self, task: asyncio.Task[Result], gone: Callable[[], Awaitable[bool]]) -> Result:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.seconds
        while True:
            done, _ = await asyncio.wait({task}, timeout=min(_POLL, max(end - loop.time(), 0)))
            if done:
                return task.result()
            if self.stopping:
                raise OverloadedError("The server was stopped.")
            if await gone():
                raise GoneError("The reader has gone.")
            if loop.time() >= end:
                raise OverloadedError(
                    f"This took longer than {self._limits.seconds:g} seconds and was stopped: ask for fewer samples, runs "
                    "or weights, or run the Python below on your own."
                )

    async def _queued(self, lab: Lab, state: State) -> Result:
        long = self._long if lab.cost(state) == "long" else contextlib.nullcontext()
        async with long, self._slots:
            process = self._idle.pop() if self._idle else Process()
            self.busy.append(process)
            finished = False
            try:
                order = partial(process.ask, _compute, lab.id, dict(state))
                kind, content = await asyncio.get_running_loop().run_in_executor(self._threads, order)
                finished = kind in ("result", "sentence")
            finally:
                self.busy.remove(process)
                if finished:
                    self._idle.append(process)
                else:
                    process.kill()
        if kind == "result":
            result: Result = content
            return result
        if kind == "sentence":
            raise UsageError(content)
        _log.error("a worker failed on %s %s:\n%s", lab.id, state, content or "its process ended")
        raise RuntimeError(f"the lab {lab.id} failed")

    def close(self) -> None:
        """Stop all processes."""
        for process in (*self._idle, *self.busy):
            process.kill()
        self._idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _compute(tell: Tell, lab_id: str, state: State) -> Result:
    return next(lab for lab in LABS if lab.id == lab_id).compute(state)
