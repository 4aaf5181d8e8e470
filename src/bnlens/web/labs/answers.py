"""Where labs are computed and remembered: equations in threads, simulations in worker processes that can be stopped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from anyio import CapacityLimiter, to_thread

from bnlens.labs import Result, State
from bnlens.web.labs.lab import LABS, Lab
from bnlens.web.slow import Limits, Slow

__all__ = ["Answers"]

_THREADS = 2  # equations at a time: more only take turns


class Answers:
    """Computes states where they belong and remembers the most recent; all from the server's event loop."""

    def __init__(self, limits: Limits) -> None:
        self._memory = limits.memory
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()
        self._threads = CapacityLimiter(_THREADS)
        self.slow = Slow(limits)

    async def find(self, lab: Lab, state: State, *, gone: Callable[[], Awaitable[bool]]) -> Result:
        """Return the result at a settled state, for a reader who is gone when ``gone`` says so.

        Raises:
            UsageError: the library's sentence about this state.
            OverloadedError: it cannot be computed now.
            GoneError: the reader has gone meanwhile.
        """
        key = (lab.id, lab.query(state), lab.stamp(state))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if lab.is_slow(state):
            result = await self.slow.answer(_compute, lab.id, dict(state), gone=gone)
        else:
            result = await to_thread.run_sync(lab.compute, state, limiter=self._threads)
        self._kept[key] = result
        if len(self._kept) > self._memory:
            self._kept.popitem(last=False)
        return result


def _compute(lab_id: str, state: State) -> Result:
    return next(lab for lab in LABS if lab.id == lab_id).compute(state)
