"""Show on standard error how a run of claims goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bnlens._progress import Bar, progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from bnlens.runs import Job, Record

__all__ = ["RunProgress"]


class RunProgress:
    """A live bar in a terminal, one line per finished job elsewhere; an `Observer` and a context manager.

    The bar advances by the cost of the jobs, so the time left does not jump when a long job follows short ones.
    ``done`` of ``total`` jobs are stored.
    """

    def __init__(self, console: Console) -> None:
        self.done = self.total = 0
        self._console = console
        self._running: list[str] = []
        self._cost = self._spent = 0.0
        self._context = progress_bar(console.is_terminal, counted=False, console=console)
        self._bar = Bar()

    def __enter__(self) -> RunProgress:
        self._bar = self._context.__enter__()
        self._bar.stage("planning")
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def planned(self, jobs: Sequence[tuple[str, Job]], stored: int) -> None:
        """Show what will be computed."""
        self.done, self.total = stored, stored + len(jobs)
        self._say(f"{len(jobs)} of {self.total} jobs to compute" if jobs else f"all {self.total} jobs are stored")
        self._cost = sum(job.cost for _, job in jobs)
        self._show()

    def started(self, owner: str, job: Job) -> None:
        """Show that a job runs."""
        self._running.append(f"{owner} {job.name}")
        self._show()

    def finished(self, owner: str, job: Job, record: Record) -> None:
        """Show that a job has ended."""
        name = f"{owner} {job.name}"
        if name in self._running:
            self._running.remove(name)
        self.done += record.status == "done"
        self._spent += job.cost
        self._show()
        if record.status == "done":
            self._say(f"[{self.done}/{self.total}] {name}, {record.seconds:.1f} s")
        else:
            self._console.print(f"{name} failed", style="red", markup=False, highlight=False)

    def _show(self) -> None:
        running = ", ".join(dict.fromkeys(self._running))
        self._bar.update(self._spent, self._cost, title=f"{self.done}/{self.total} jobs", note=running)

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
