"""``bnlens runs export``: stored jobs as a table for other programs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bnlens.cli.runs._select import Claims, Folder, Status, select
from bnlens.errors import UsageError

if TYPE_CHECKING:
    from pandas import Series

__all__ = ["export_command"]


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
        typer.Option(
            metavar="NAME", show_default=False, help="One row per entry of this list in the results, such as curve."
        ),
    ] = None,
    form: Annotated[
        FormatName | None,
        typer.Option("--format", show_default="by the ending of FILE, else csv", help="Of the table."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", show_default="standard output", help="Where to write."),
    ] = None,
) -> None:
    """Write stored jobs as CSV, JSON or parquet: one row per job, its configuration and its results as columns."""
    from bnlens._files import check_writable, write_atomic
    from bnlens._plain import csv_text
    from bnlens.runs import records_frame

    chosen = form.value if form else _by_ending(file)
    if chosen == "parquet" and file is None:
        raise UsageError("parquet is not text; say where to write it with --file FILE")
    if file is not None:
        check_writable(file)
    frame = records_frame(select(out, claim, status), series=series)
    if chosen == "csv":
        text: str | bytes = csv_text(
            cast("list[dict[str, Any]]", frame.to_dict("records")), [str(name) for name in frame]
        )
    elif chosen == "json":
        text = frame.to_json(orient="records", indent=1) + "\n"
    else:
        try:
            text = frame.apply(_of_one_type).to_parquet(index=False)
        except ImportError as error:
            raise UsageError(
                "parquet needs the package pyarrow; install it with pip install 'bnlens[vision]', or use csv"
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
