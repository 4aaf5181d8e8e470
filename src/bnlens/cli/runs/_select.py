"""The choice of stored jobs, for all commands."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from bnlens.errors import StoreError

if TYPE_CHECKING:
    from bnlens.runs import Record

__all__ = ["Claims", "Folder", "Status", "StatusName", "select"]


class StatusName(str, Enum):
    """Ends of a job."""

    done = "done"
    failed = "failed"


Folder: TypeAlias = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")]
Claims: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--claim", metavar="ID", show_default=False, help="Only jobs computed for this claim. Repeatable."),
]
Status: TypeAlias = Annotated[
    StatusName | None, typer.Option("--status", show_default=False, help="Only jobs that ended so.")
]


def select(folder: Path, claim_ids: Sequence[str] | None, status: StatusName | None = None) -> list[Record]:
    """Return the stored jobs that are asked for, in the order in which they were stored.

    Raises:
        StoreError: there are no results, or the file cannot be read.
        UsageError: a claim is unknown.
    """
    from bnlens.claims import get_claims
    from bnlens.runs import FILE, read_records

    if not (folder / FILE).is_file():
        raise StoreError(f"{folder} holds no results; give the folder of an earlier bnlens reproduce with --out")
    chosen = {claim.id for claim in get_claims(claim_ids or [])}
    return [
        record
        for record in read_records(folder / FILE)
        if (not chosen or record.claim in chosen) and (status is None or record.status == status.value)
    ]
