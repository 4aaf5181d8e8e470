"""``bnlens runs remove``: take stored jobs out of a results file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnlens.cli.runs._select import Claims, Folder, Status, select
from bnlens.errors import UsageError

__all__ = ["remove_command"]


def remove_command(
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
    status: Status = None,
    stale: Annotated[bool, typer.Option("--stale", help="Only jobs computed by other versions of the code.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All jobs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove stored jobs: those of a claim, failed ones, those of older code, or all. They would be computed anew."""
    if not (claim or status or stale or every):
        raise UsageError("say what to remove: --claim ID, --status failed, --stale, or --all")
    from bnlens.runs import FILE, is_current, remove_records

    records = [record for record in select(out, claim, status) if not stale or not is_current(record)]
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
