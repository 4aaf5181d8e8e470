"""Whatever takes long: functions in worker processes at low priority, which end when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process
from threadpoolctl import threadpool_limits

from bnlens.errors import BnlensError, UsageError
from bnlens.web.errors import GoneError, OverloadedError

__all__ = ["Limits", "Slow", "in_process"]

T = TypeVar("T")
_POLL = 0.2  # seconds between looks at whether the reader is still there
_NICENESS = 10  # pages go first
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


async def in_process(limiter: CapacityLimiter, function: Callable[..., T], *arguments: object) -> T:
    """Call a function of a module in a worker process, which a cancelled caller kills.

    Raises:
        UsageError: the sentence of an error of the library.
        RuntimeError: the function failed, with its traceback, or its process ended.
    """
    try:
        return await to_process.run_sync(_work, os.getpid(), function, arguments, cancellable=True, limiter=limiter)
    except BrokenWorkerProcess as error:
        raise RuntimeError("its process ended before it had finished") from error


_lent: list[threading.Thread] = []  # in a worker: the thread that ends it with the server


def _work(server: int, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    if not _lent:
        _lent.append(threading.Thread(target=_end_with, args=(server,), daemon=True))
        _lent[0].start()
        # anyio leaves a worker without one where the server's has no file (-c, a notebook); processes that it starts look at it
        sys.modules.setdefault("__main__", ModuleType("__main__"))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
        os.environ.update(dict.fromkeys(_THREADS, "1"))  # for libraries that load later
        threadpool_limits(1)
        if hasattr(os, "nice"):
            os.nice(_NICENESS)
    try:
        return function(*arguments)
    except BnlensError as error:
        raise UsageError(str(error)) from None
    except Exception:  # noqa: BLE001 - it may not survive the way; the server logs it
        raise RuntimeError(traceback.format_exc()) from None


def _end_with(server: int) -> None:
    while os.getppid() == server:
        time.sleep(1)
    os._exit(1)


@dataclass(frozen=True)
class Limits:
    """How much expensive requests may take.

    Attributes:
        workers: processes.
        waiting: requests that may wait for one.
        seconds: time that one request may take, waiting included.
        memory: results that are remembered.
    """

    workers: int = 2
    waiting: int = 8
    seconds: float = 60.0
    memory: int = 256


class Slow:
    """Computations that a reader waits for.

    ``asked`` counts those that run or wait; ``stopping`` stops them as the server ends.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._processes = CapacityLimiter(limits.workers)
        self.asked = 0
        self.stopping = False

    async def answer(self, function: Callable[..., T], *arguments: object, gone: Callable[[], Awaitable[bool]]) -> T:
        """Return the function's result; whether the reader has ``gone`` is asked several times a second.

        Raises:
            UsageError: the library's sentence.
            OverloadedError: too many wait already, the time is up, or the server ends.
            GoneError: the reader has gone; the computation is stopped.
        """
        if self.asked >= self._limits.workers + self._limits.waiting:
            raise OverloadedError("Too many simulations are waiting: try again in a minute, or without simulation.")
        self.asked += 1
        task = asyncio.create_task(in_process(self._processes, function, *arguments))
        end = time.monotonic() + self._limits.seconds
        try:
            while not (await asyncio.wait({task}, timeout=_POLL))[0]:
                if self.stopping:
                    raise OverloadedError("The server was stopped.")
                if await gone():
                    raise GoneError("The reader has gone.")
                if time.monotonic() >= end:
                    raise OverloadedError(
                        f"This took longer than {self._limits.seconds:g} seconds and was stopped: ask for fewer samples, runs "
                        "or weights, or run the Python below on your own."
                    )
            return task.result()
        finally:
            self.asked -= 1
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BnlensError, RuntimeError):
                await task
