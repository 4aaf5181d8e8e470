"""One progress bar for a whole report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Tracker", "tracker"]


class Tracker:
    """Names the stage at work and counts its steps; silent without a bar."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def stage(self, description: str, total: int | None) -> Callable[[], None]:
        """Start a stage of ``total`` steps (None if unknown) and return the function that counts one."""
        if self._progress is None:
            return lambda: None
        progress, task = self._progress, self._progress.add_task(description, total=total)
        for other in progress.tasks[:-1]:
            if not other.finished:  # a stage of unknown length has ended when the next one starts
                progress.update(other.id, total=max(other.completed, 1), completed=max(other.completed, 1))
        return lambda: progress.advance(task)


@contextmanager
def tracker(show: bool | None) -> Iterator[Tracker]:
    """A tracker with a bar on standard error; ``show=None`` shows it on a terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield Tracker(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Tracker(progress)
