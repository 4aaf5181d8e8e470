"""The progress bar of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["ProgressCallback", "report_to"]

ProgressCallback: TypeAlias = Callable[[int, int, float], None]
"""Called after each step with the steps done, the steps in all, and the step's loss."""


@contextmanager
def report_to(progress: bool | ProgressCallback | None) -> Iterator[ProgressCallback]:
    """Within it, what is given is called after each step; True stands for a bar on standard error."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _step, _steps, _loss: None
    else:
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task("training", loss=math.nan)
            yield lambda step, steps, loss: bar.update(task, completed=step, total=steps, loss=loss)
