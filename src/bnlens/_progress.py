"""The one progress bar: on standard error, drawn by rich, which is loaded by the first bar that is shown.

It takes numbers and gives none, so no result depends on this module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Bar", "Counter", "counter", "progress_bar"]

Counter: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

_PERIOD = 3600  # seconds over which speed is measured: long steps end rarely


class Bar:
    """Shows stages of work, one line each: title, bar, steps, time left and a note; does nothing where none is shown."""

    def __init__(self, shown: Progress | None = None) -> None:
        self._shown = shown

    def stage(self, title: str, total: float | None = None) -> Callable[[], None]:
        """Begin a stage of ``total`` steps, None if that is not known, and return the function that counts one.

        The stage before it counts as finished.
        """
        if self._shown is None:
            return lambda: None
        shown, task = self._shown, self._shown.add_task(title, total=total, note="")
        for other in shown.tasks[:-1]:
            if not other.finished:  # one of unknown length has ended when the next one begins
                shown.update(other.id, total=max(other.completed, 1), completed=max(other.completed, 1))
        return lambda: shown.advance(task)

    def update(
        self, done: float, total: float | None = None, *, title: str | None = None, note: str | None = None
    ) -> None:
        """Set how far the present stage is, and its title and note where they are given."""
        if self._shown is not None:
            words: dict[str, Any] = {} if note is None else {"note": note}
            self._shown.update(self._shown.tasks[-1].id, completed=done, total=total, description=title, **words)


@contextmanager
def progress_bar(
    show: bool | None = None, *, keep: bool = False, counted: bool = True, console: Console | None = None
) -> Iterator[Bar]:
    """Show a bar while the context lasts.

    Args:
        show: whether to; None shows it on a terminal.
        keep: leave its last state on the screen.
        counted: show the number of steps; without it the title has to say how far the work is.
        console: where to draw it; standard error by default.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        *([MofNCompleteColumn()] if counted else []),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=Console(stderr=True) if console is None else console,
        transient=not keep,
        speed_estimate_period=_PERIOD,
    ) as shown:
        yield Bar(shown)


@contextmanager
def counter(title: str, show: bool | None = None) -> Iterator[Counter]:
    """Show a bar with one stage while the context lasts; yields the function that is told how far the work is.

    Args:
        title: of the stage.
        show: as of `progress_bar`.
    """
    with progress_bar(show) as bar:
        bar.stage(title)
        yield bar.update
