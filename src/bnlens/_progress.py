"""The one progress bar, on standard error: a bar in a terminal, a widget in a notebook, elsewhere a line now and then.

It takes numbers and gives none, so no result depends on this module.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Bar", "Counter", "counter", "progress_bar", "time_text"]

Counter: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

_EVERY = 30.0  # seconds from one line to the next
_REFRESH = 0.5  # seconds from one state of a widget to the next
_WIDE = 60  # columns, from which a bar may be long
_PERIOD = 3600  # seconds over which speed is measured: long steps end rarely


@dataclass
class _Stage:
    """A stage of work: how far it is, of how much (None if that is not known), since when, and a note."""

    title: str
    total: float | None
    began: float
    done: float = 0.0
    note: str = ""

    @property
    def share(self) -> float | None:
        return None if not self.total else min(self.done / self.total, 1.0)

    def text(self, now: float) -> str:
        words = [f"{self.done:g} done" if self.share is None else f"{self.share:.0%}"]
        if self.share and now > self.began:
            words.append(f"{time_text((now - self.began) * (1 / self.share - 1))} left")
        return f"{self.title}: {', '.join([*words, *([self.note] if self.note else [])])}"


class _View(Protocol):
    def begin(self, stage: _Stage) -> None: ...

    def show(self, stage: _Stage) -> None: ...


class _Terminal:
    """One line, redrawn by rich."""

    def __init__(self, shown: Progress) -> None:
        self._shown, self._task = shown, shown.add_task("", total=None, note="", visible=False)

    def begin(self, stage: _Stage) -> None:
        self._shown.reset(self._task, total=stage.total, visible=True, description=stage.title, note=stage.note)
        if stage.total is None:  # reset takes None for "as before"
            self._shown.tasks[0].total = None

    def show(self, stage: _Stage) -> None:
        self._shown.update(self._task, completed=stage.done, total=stage.total, note=stage.note)


class _Lines:
    """A line for those who read a log, once a stage has taken its time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last = clock, clock()

    def begin(self, stage: _Stage) -> None:
        pass

    def show(self, stage: _Stage) -> None:
        if (now := self._clock()) - self._last >= _EVERY:
            self._last = now
            sys.stderr.write(f"{stage.text(now)}\n")
            sys.stderr.flush()


class _Notebook:
    """An output that is replaced as the work goes on; it needs no package that a notebook does not have."""

    def __init__(self, clock: Callable[[], float]) -> None:
        from IPython.display import display

        self._clock, self._last = clock, float("-inf")
        self._output = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def begin(self, stage: _Stage) -> None:
        self.show(stage)

    def show(self, stage: _Stage) -> None:
        now = self._clock()
        if now - self._last >= _REFRESH or stage.share in (None, 0.0, 1.0):
            self._last = now
            self._put(stage.text(now), "" if stage.share is None else f' value="{stage.share:.3f}"')

    def clear(self) -> None:
        self._output.update({"text/plain": "", "text/html": ""}, raw=True)

    def _put(self, text: str, value: str) -> None:
        page = f"<progress{value}></progress> {html.escape(text)}"
        self._output.update({"text/plain": text, "text/html": page}, raw=True)


class Bar:
    """Shows how far work is: its stage, the share of it that is done, the time left and a note; or nothing."""

    def __init__(self, view: _View | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._view, self._clock = view, clock
        self._stage = _Stage("", None, clock())

    def stage(self, title: str, total: float | None = None) -> Callable[[], None]:
        """Begin a stage of ``total`` steps, None if that is not known, and return the function that counts one."""
        self._stage = stage = _Stage(title, total, self._clock())
        if self._view is not None:
            self._view.begin(stage)
        return lambda: self.update(stage.done + 1, stage.total)

    def update(
        self, done: float, total: float | None = None, *, title: str | None = None, note: str | None = None
    ) -> None:
        """Set how far the present stage is, and its note where one is given; another title begins the stage of that name."""
        if title not in (None, self._stage.title):
            self.stage(title or "", total)
        stage = self._stage
        stage.done, stage.total, stage.note = done, total, stage.note if note is None else note
        if self._view is not None:
            self._view.show(stage)


@contextmanager
def progress_bar(
    show: bool | None = None,
    *,
    keep: bool = False,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Bar]:
    """Show a bar while the context lasts.

    Args:
        show: whether to, wherever it is; None is True.
        keep: leave its last state on the screen.
        console: the terminal to draw it on; standard error, where that is one, by default.
        clock: seconds, for the time left and for when a line is due.
    """
    if show is False:
        yield Bar()
    elif _in_notebook():
        output = _Notebook(clock)
        try:
            yield Bar(output, clock)
        finally:
            if not keep:
                output.clear()
    elif console is None and not sys.stderr.isatty():
        yield Bar(_Lines(clock), clock)
    else:
        with _rich_progress(keep, console) as shown:
            yield Bar(_Terminal(shown), clock)


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


def time_text(seconds: float) -> str:
    """Return a time as a reader says it, to two digits or so.

    >>> time_text(7.2), time_text(200), time_text(5400)
    ('7 s', '3 min', '1.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; rich is not asked, which would load it."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _rich_progress(keep: bool, console: Console | None) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = Console(stderr=True) if console is None else console
    note = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20 if console.width >= _WIDE else 6),
        TaskProgressColumn(show_speed=False),
        TimeRemainingColumn(compact=True),
        TextColumn("left", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=note),
        console=console,
        transient=not keep,
        expand=True,
        speed_estimate_period=_PERIOD,
    )
