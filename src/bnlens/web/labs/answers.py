"""Where labs are computed and remembered: equations in threads, simulations in worker processes that can be stopped."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from anyio import CapacityLimiter, to_thread

from bnlens.web.labs.lab import LABS, Lab, Result, State
from bnlens.web.slow import Limits, Slow

__all__ = ["Answer", "Answers"]

_THREADS = 2  # equations at a time: more only take turns


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
        self._memory = limits.memory
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = CapacityLimiter(_THREADS)
        self.slow = Slow(limits)

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
        if lab.is_slow(state):
            result = await self.slow.answer(_compute, lab.id, dict(state), gone=gone)
        else:
            result = await to_thread.run_sync(lab.compute, state, limiter=self._threads)
        answer = Answer(lab, state, result)
        with self._lock:
            self._kept[key] = answer
            while len(self._kept) > self._memory:
                self._kept.popitem(last=False)
        return answer


def _compute(lab_id: str, state: State) -> Result:
    return next(lab for lab in LABS if lab.id == lab_id).compute(state)
