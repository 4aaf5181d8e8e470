"""``bnlens runs list``: one line per stored job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bnlens.cli.runs._select import Claims, Folder, Status, select

__all__ = ["list_command"]


def list_command(
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
    status: Status = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """List stored jobs: when they ended, how long they took, and whether the code behind them has changed since."""
    from bnlens.runs import is_current

    records = select(out, claim, status)
    names = ("key", "claim", "job", "status", "seconds", "finished")
    rows = [{**{name: getattr(record, name) for name in names}, "stale": not is_current(record)} for record in records]
    if as_json:
        typer.echo(json.dumps({"jobs": rows}, indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("key", "claim", "job", "status", "seconds", "finished", "code"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", no_wrap=heading != "job")
    for row in rows:
        cells = (
            row["key"][:10],
            row["claim"],
            row["job"],
            row["status"],
            f"{row['seconds']:.1f}",
            row["finished"][:16],
        )
        table.add_row(*map(str, cells), "older" if row["stale"] else "current")
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)
    hours = sum(record.seconds for record in records) / 3600
    failed = sum(record.status == "failed" for record in records)
    typer.echo(f"{len(records)} jobs, {failed} of them failed, {hours:.2f} hours of computing in {out}.")
