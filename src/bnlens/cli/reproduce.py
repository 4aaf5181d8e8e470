"""``bnlens reproduce``: run the claims, show how that goes, print their verdicts, write the report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from bnlens._progress import Bar, progress_bar, time_text

if TYPE_CHECKING:
    from rich.console import Console

    from bnlens.claims import Claim, ClaimRun
    from bnlens.cli._study import Study
    from bnlens.runs import Job, Record

__all__ = ["reproduce_command"]

_CHANGE = "A parameter of the claims (--list --json shows them), or of one: E1.M='[8, 64]'. Repeatable."
_CONFIG = "TOML file with any of these options; see the docs."
_DATA = "Folder with CIFAR-10, for the claims that can use it."
_IDS = "Claims, such as D1 D3; none: the core claims."
_MOST = 1000  # jobs, threads or seeds
_SCALE = "Minutes on a laptop, or the numbers of the documentation."
_STYLES = {
    "holds": "green",
    "holds approximately": "yellow",
    "does not hold here": "red",
    "premise not met": "cyan",
    "not judged": "bold red",
}


class ScaleName(str, Enum):
    """Amounts of computing."""

    quick = "quick"
    full = "full"


def reproduce_command(
    ids: Annotated[list[str] | None, Argument(metavar="IDS", show_default=False, help=_IDS)] = None,
    every: Annotated[bool, Option("--all", help="Run every claim.")] = False,
    scale: Annotated[ScaleName | None, Option(show_default="quick", help=_SCALE)] = None,
    seeds: Annotated[
        int | None,
        Option(
            min=1, max=_MOST, metavar="N", show_default="each claim's own", help="Seeds, for the claims that have them."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", show_default=False, help=_CHANGE)
    ] = None,
    config: Annotated[Path | None, Option(metavar="FILE", show_default=False, help=_CONFIG)] = None,
    workers: Annotated[
        int | None,
        Option("--jobs", "-j", min=1, max=_MOST, metavar="N", show_default="all cores", help="Jobs to run at once."),
    ] = None,
    threads: Annotated[
        int | None, Option(min=1, max=_MOST, metavar="N", show_default="1", help="Threads of each job.")
    ] = None,
    scheduler: Annotated[
        str | None, Option(metavar="ADDRESS", show_default=False, help="Run on the workers of this Dask scheduler.")
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", show_default="bnlens-out", help="Folder of the results.")] = None,
    listing: Annotated[bool, Option("--list", help="List the claims and run nothing.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object on standard output.")] = False,
    data: Annotated[Path | None, Option(metavar="DIR", show_default=False, help=_DATA)] = None,
) -> None:
    """Compute the claims and judge them. What is stored already is not computed again."""
    from bnlens.claims import claim_data, claims, run_data
    from bnlens.cli._study import Study, parse_changes, read_study

    known = list(claims())
    study = Study(
        claims=ids or None,
        scale=scale and scale.value,
        data=None if data is None else str(data),
        out=None if out is None else str(out),
        jobs=workers,
        threads=threads,
        seeds=seeds,
        scheduler=scheduler,
        parameters=parse_changes(changes or [], known),
    )
    if config is not None:
        study = study.over(read_study(config, known))
    chosen = _choose([] if every and not ids else study.claims or [], every, listing)
    if listing:
        if as_json:
            _print_json([claim_data(claim) for claim in chosen])
        else:
            _print_list(chosen)
        return
    runs, report = _run(chosen, study)
    if as_json:
        _print_json([run_data(run) for run in runs])
    else:
        _print_runs(runs)
    typer.echo(f"Report: {report}", err=as_json)
    for run in runs:
        for error in run.errors:
            typer.echo(f"Error: {run.claim.id}: {error}", err=True)
    if any(run.errors for run in runs):
        raise typer.Exit(2 if any(run.is_user_error for run in runs) else 1)


def _choose(ids: Sequence[str], every: bool, listing: bool) -> list[Claim]:
    from bnlens.claims import claims, get_claims
    from bnlens.errors import UsageError

    if ids and every:
        raise UsageError("--all runs every claim; leave it out, or leave out the claim ids")
    if ids:
        return get_claims(ids)
    return [claim for claim in claims().values() if claim.core or every or listing]


def _run(chosen: Sequence[Claim], study: Study) -> tuple[Sequence[ClaimRun], Path]:
    from rich.console import Console

    from bnlens.claims import reproduce
    from bnlens.cli._study import parameters_of
    from bnlens.errors import UsageError

    out, data = Path(study.out or "bnlens-out"), study.data and Path(study.data)
    if data and not data.is_dir():
        raise UsageError(f"--data {data} is not a folder; give the folder that holds CIFAR-10")
    progress = _RunProgress(Console(stderr=True))
    try:
        with progress:
            done = reproduce(
                chosen,
                out=out,
                scale="full" if study.scale == "full" else "quick",
                workers=study.jobs,
                threads=study.threads or 1,
                scheduler=study.scheduler,
                data=data or None,
                parameters=parameters_of(study, [claim.id for claim in chosen]),
                observer=progress,
            )
    except KeyboardInterrupt as interrupt:
        stored = f"{progress.done} of {progress.total} jobs are stored in {out}"
        typer.echo(f"Interrupted: {stored}; run the same command again to go on from there.", err=True)
        raise typer.Exit(130) from interrupt
    return done.runs, done.report


def _print_json(claims: list[dict[str, object]]) -> None:
    typer.echo(json.dumps({"claims": claims}, indent=2, allow_nan=False))


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=120)


def _print_list(chosen: Sequence[Claim]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("id", "core", "claim", "source"):
        table.add_column(heading, no_wrap=heading == "id")
    for claim in chosen:
        table.add_row(claim.id, "core" if claim.core else "", claim.title, claim.source)
    _console().print(table)


def _print_runs(runs: Sequence[ClaimRun]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from bnlens.claims import parts_text
    from bnlens.render import number

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("id", no_wrap=True)
    table.add_column("claim", min_width=12)
    for heading in ("measured ± s.e.", "predicted", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=len("approximately"))  # wraps between words in 80 columns
    table.add_column("seconds", justify="right", no_wrap=True)
    for run in runs:
        finding, verdict, numbers = run.finding, "not judged", ("–", "–", "–")
        if finding:
            measured = number(finding.measured, finding.stderr)
            verdict, numbers = finding.verdict, (measured, number(finding.predicted), number(finding.ratio))
        style = _STYLES[verdict]
        title = f"{escape(run.claim.title)}\n[dim]{escape(run.claim.quantity)}[/]"
        table.add_row(run.claim.id, title, *numbers, f"[{style}]{verdict}[/]", f"{run.seconds:.1f}")
    console = _console()
    console.print(table)
    for claim_id, finding in ((run.claim.id, run.finding) for run in runs):
        if finding is None:
            continue
        if finding.parts:
            console.print(f"{claim_id}, judged apart: {parts_text(finding)}.", markup=False, highlight=False)
        if finding.verdict == "premise not met":
            console.print(f"{claim_id}, premise not met: {finding.summary}", markup=False, highlight=False)
        if finding.corrects_paper:
            console.print(f"{claim_id} corrects the paper: {finding.corrects_paper}", markup=False, highlight=False)


class _RunProgress:
    """A bar in a terminal, one line per finished job elsewhere; an `Observer` and a context manager.

    It advances by the cost of the jobs, so the time left does not jump when a long job follows short ones.
    ``done`` of ``total`` jobs are stored.
    """

    def __init__(self, console: Console) -> None:
        self.done = self.total = 0
        self._console = console
        self._running: list[str] = []
        self._cost = self._spent = self._began = 0.0
        self._context = progress_bar(console.is_terminal, console=console)
        self._bar = Bar()

    def __enter__(self) -> _RunProgress:
        self._bar = self._context.__enter__()
        self._bar.stage("planning")
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def planned(self, jobs: Sequence[tuple[str, Job]], stored: int) -> None:
        self.done, self.total, self._began = stored, stored + len(jobs), time.monotonic()
        self._say(f"{len(jobs)} of {self.total} jobs to compute" if jobs else f"all {self.total} jobs are stored")
        self._cost = sum(job.cost for _, job in jobs)
        self._bar.stage("computing", self._cost)
        self._show()

    def started(self, owner: str, job: Job) -> None:
        self._running.append(f"{owner} {job.name}")
        self._show()

    def finished(self, owner: str, job: Job, record: Record) -> None:
        name = f"{owner} {job.name}"
        if name in self._running:
            self._running.remove(name)
        self.done += record.status == "done"
        self._spent += job.cost
        self._show()
        if record.status == "done":
            left = (time.monotonic() - self._began) * (self._cost / self._spent - 1) if self._spent else 0.0
            self._say(f"[{self.done}/{self.total}] {name}, {record.seconds:.1f} s; {time_text(left)} left")
        else:
            self._console.print(f"{name} failed", style="red", markup=False, highlight=False)

    def _show(self) -> None:
        running = ", ".join(dict.fromkeys(self._running))
        self._bar.update(self._spent, self._cost, note=f"{self.done}/{self.total} jobs: {running}")

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
