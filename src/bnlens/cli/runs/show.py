"""``bnlens runs show``: one stored job in full."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlens._names import did_you_mean
from bnlens.cli.runs._select import Claims, Folder, select
from bnlens.errors import UsageError

if TYPE_CHECKING:
    from bnlens.runs import Record

__all__ = ["show_command"]


def show_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Name of the job, or the first characters of its key.")],
    out: Folder = Path("bnlens-out"),
    claim: Claims = None,
) -> None:
    """Print a stored job as JSON: configuration, result, versions, and the traceback if it failed."""
    from bnlens.runs import is_current

    record = _find(job, select(out, claim))
    names = (
        "key",
        "claim",
        "job",
        "function",
        "config",
        "code",
        "status",
        "seconds",
        "started",
        "finished",
        "versions",
    )
    content = {
        **{name: getattr(record, name) for name in names},
        "stale": not is_current(record),
        "result": record.result,
    }
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
