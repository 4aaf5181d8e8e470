"""What the parts of `gpu.py` share: the time, and what to do when something fails."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Clock:
    """Counts down.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; negative when the time is up."""
        return self._end - time.monotonic()

    def part(self, seconds: float) -> Clock:
        """A clock of at most so many of the seconds left."""
        return Clock(max(0.0, min(seconds, self.left())))


class Turns:
    """Runs a function on one item after the other while the time suffices, whatever becomes of single ones.

    Attributes:
        left_out: the items that no time was left for.
        errors: what became of those that failed, a line each.
    """

    def __init__(self, clock: Clock) -> None:
        self.left_out: list[str] = []
        self.errors: list[str] = []
        self._clock = clock

    def over(self, items: Iterable[Item], function: Callable[[Item], None], kind: Callable[[Item], object]) -> None:
        """Run the function on each item, unless the longest turn of its kind so far would outlast the clock."""
        longest: dict[object, float] = {}
        for item in items:
            before = self._clock.left()
            if before < longest.get(kind(item), 0.0):
                self.left_out.append(str(item))
                continue
            print(f"  {item}", file=sys.stderr, flush=True)
            for line in failure(lambda: function(item)):  # noqa: B023 - called at once
                self.errors.append(f"{item}: {line}")
            longest[kind(item)] = max(longest.get(kind(item), 0.0), before - self._clock.left())


def failure(function: Callable[[], None]) -> Iterator[str]:
    """Call a function; if it raises, yield what, and print where."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - the others are still to run
        traceback.print_exc()
        yield f"{type(error).__name__}: {error}"
