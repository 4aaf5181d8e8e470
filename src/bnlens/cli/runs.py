"""``bnlens runs``: what the results file of a folder holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typer
from typer import Argument, Option

from bnlens._names import did_you_mean
from bnlens.cli._commands import Command, new_group
from bnlens.cli._outputs import check_outputs
from bnlens.errors import StoreError, UsageError, how_to_install

if TYPE_CHECKING:
    from pandas import Series

    from bnlens.runs import Record

__all__ = ["runs_app"]


def runs_app() -> typer.Typer:
    """Return the verb with its four subcommands."""
    app = new_group()
    for command in (list_command, show_command, export_command, remove_command):
        app.command(command.__name__.removesuffix("_command"), cls=Command)(command)
    app.callback()(_runs)
    return app


def _runs() -> None:
    """List, show, export and remove the stored jobs of `bnlens reproduce`."""


class StatusName(str, Enum):
    """Ends of a job."""

    done = "done"
    failed = "failed"


Folder: TypeAlias = Annotated[Path, Option("--out", metavar="DIR", help="Folder of the results.")]
Claims: TypeAlias = Annotated[
    list[str] | None,
    Option("--claim", metavar="ID", show_default=False, help="Only jobs computed for this claim. Repeatable."),
]
Status: TypeAlias = Annotated[
    StatusName | None, Option("--status", show_default=False, help="Only jobs that ended so.")
]


def _select(folder: Path, claim_ids: Sequence[str] | None, status: StatusName | None = None) -> list[Record]:
    """Return the stored jobs that are asked for, in the order in which they were stored."""
    from bnlens.claims import get_claims
    from bnlens.runs import FILE, read_records

    if not (folder / FILE).is_file():
        raise StoreError(f"{folder} holds no results; give the folder of an earlier bnlens reproduce with --out")
    # jobs may be stored under a name that has parts by now
    chosen = {name.lower() for name in (*(claim.id for claim in get_claims(claim_ids or [])), *(claim_ids or []))}
    return [
        record
        for record in read_records(folder / FILE)
        if (not chosen or record.claim.lower() in chosen) and (status is None or record.status == status.value)
    ]


_COLUMNS = ("key", "claim", "job", "status", "seconds", "finished", "code")
_LESS_TELLING = ("finished", "seconds", "claim", "code", "status")  # in the order in which they go


def list_command(
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
    status: Status = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """List stored jobs: when they ended, how long they took, and whether the code behind them has changed since."""
    from bnlens.runs import is_current

    records = _select(out, claim, status)
    names = ("key", "claim", "job", "status", "seconds", "finished")
    rows = [{**{name: getattr(record, name) for name in names}, "stale": not is_current(record)} for record in records]
    if as_json:
        typer.echo(json.dumps({"jobs": rows}, indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=140)
    cells = [
        {
            "key": row["key"][:10],
            "claim": row["claim"],
            "job": row["job"],
            "status": row["status"],
            "seconds": f"{row['seconds']:.1f}",
            "finished": row["finished"][:16],
            "code": "older" if row["stale"] else "current",
        }
        for row in rows
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = _columns_that_fit(cells, console.width)
    for heading in shown:
        is_job = heading == "job"
        table.add_column(
            heading, justify="right" if heading == "seconds" else "left", no_wrap=not is_job, overflow="fold"
        )
    for cell in cells:
        table.add_row(*(escape(cell[heading]) for heading in shown))
    console.print(table)
    hours = sum(record.seconds for record in records) / 3600
    failed = sum(record.status == "failed" for record in records)
    typer.echo(f"{len(records)} jobs, {failed} of them failed, {hours:.2f} hours of computing in {out}.")


def _columns_that_fit(cells: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Return headings of a table of this width: the job's name is shown whole before others are shown at all."""
    widths = {name: max(len(name), *(len(cell[name]) for cell in cells)) for name in _COLUMNS} if cells else {}
    shown = list(_COLUMNS)
    for name in _LESS_TELLING:
        if sum(widths.get(each, 0) + 2 for each in shown) > width:
            shown.remove(name)
    return shown


def show_command(
    job: Annotated[str, Argument(metavar="JOB", help="Name of the job, or the first characters of its key.")],
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
) -> None:
    """Print a stored job as JSON: configuration, result, versions, and the traceback if it failed."""
    from bnlens.runs import is_current

    record = _find(job, _select(out, claim))
    content = {name: value for name, value in vars(record).items() if name not in ("result", "error", "traceback")}
    content |= {"stale": not is_current(record), "result": record.result}
    if record.status == "failed":
        content |= {"error": record.error, "traceback": record.traceback}
    typer.echo(json.dumps(content, indent=2))


def _find(name: str, records: Sequence[Record]) -> Record:
    found = [record for record in records if name in (record.job, record.key)]
    found = found or [record for record in records if len(name) >= 4 and record.key.startswith(name)]
    if not found:
        hint = did_you_mean(name, [record.job for record in records], "bnlens runs list shows them")
        raise UsageError(f"there is no stored job {name!r}; {hint}")
    if len(found) > 1:
        keys = ", ".join(f"{record.claim} {record.key[:10]}" for record in found)
        raise UsageError(f"{len(found)} stored jobs fit {name!r}; give the key of one ({keys})")
    return found[0]


class FormatName(str, Enum):
    """Formats of the table."""

    csv = "csv"
    json = "json"
    parquet = "parquet"


def export_command(
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
    status: Status = None,
    series: Annotated[
        str | None,
        Option(
            metavar="NAME", show_default=False, help="One row per entry of this list in the results, such as curve."
        ),
    ] = None,
    form: Annotated[
        FormatName | None, Option("--format", show_default="by the ending of FILE, else csv", help="Of the table.")
    ] = None,
    file: Annotated[
        Path | None, Option("--file", "-f", metavar="FILE", show_default="standard output", help="Where to write.")
    ] = None,
) -> None:
    """Write stored jobs as CSV, JSON or parquet: one row per job, its configuration and its results as columns."""
    from bnlens._files import write_atomic
    from bnlens._plain import csv_text
    from bnlens.runs import FILE, records_frame

    chosen = form.value if form else _by_ending(file)
    if chosen == "parquet" and file is None:
        raise UsageError("parquet is not text; say where to write it with --file FILE")
    check_outputs({"--file": file}, {"--out": out / FILE})
    frame = records_frame(_select(out, claim, status), series=series)
    if chosen == "csv":
        rows = cast("list[dict[str, Any]]", frame.to_dict("records"))
        text: str | bytes = csv_text(rows, [str(name) for name in frame])
    elif chosen == "json":
        text = frame.to_json(orient="records", indent=1) + "\n"
    else:
        try:
            text = frame.apply(_of_one_type).to_parquet(index=False)
        except ImportError as error:
            raise UsageError(
                f"parquet needs the package pyarrow; {how_to_install('vision')} brings it, or use csv"
            ) from error
    if file is None:
        typer.echo(text, nl=False)
    else:
        write_atomic(file, text)
        typer.echo(f"{len(frame)} rows: {file}", err=True)


def _of_one_type(column: Series) -> Series:
    """Return the column with values of one type, as parquet wants it: 8 and "inf" become texts."""
    kinds = {
        bool if isinstance(value, bool) else float if isinstance(value, (int, float)) else str
        for value in column.dropna()
    }
    return column if len(kinds) < 2 else column.map(str, na_action="ignore")


def _by_ending(file: Path | None) -> str:
    ending = "csv" if file is None or not file.suffix else file.suffix[1:].lower()
    if ending not in FormatName.__members__:
        raise UsageError(f"cannot tell the format of {file}; end it in .csv, .json or .parquet, or give --format")
    return ending


def remove_command(
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
    status: Status = None,
    stale: Annotated[bool, Option("--stale", help="Only jobs computed by other versions of the code.")] = False,
    every: Annotated[bool, Option("--all", help="All jobs.")] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove stored jobs: those of a claim, failed ones, those of older code, or all. They would be computed anew."""
    if not (claim or status or stale or every):
        raise UsageError("say what to remove: --claim ID, --status failed, --stale, or --all")
    from bnlens.runs import FILE, is_current, remove_records

    records = [record for record in _select(out, claim, status) if not stale or not is_current(record)]
    seconds = sum(record.seconds for record in records)
    if not records:
        typer.echo("No stored job fits; nothing was removed.")
        return
    what = f"{len(records)} stored jobs ({seconds / 60:.1f} minutes of computing) of {out}"
    if not yes and not typer.confirm(f"Remove {what}?"):
        typer.echo("Nothing was removed.")
        return
    remove_records(out / FILE, [record.key for record in records])
    typer.echo(f"Removed {what}.")
