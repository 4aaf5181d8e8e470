"""Lists of numbers as arguments, tables on standard output, figures in files."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bnlens.errors import UsageError

if TYPE_CHECKING:
    from bnlens.labs import Table
    from bnlens.render import Figure

__all__ = ["OutputFormat", "check_plot", "parse_numbers", "print_table", "write_plot"]

_MOST_NUMBERS = 100_000


class OutputFormat(str, Enum):
    """How a table is printed."""

    csv = "csv"
    json = "json"


def parse_numbers(text: str, option: str) -> list[float]:
    """Return the numbers of "0.5,1,2" or of "START:STOP:STEP", STOP included.

    Raises:
        UsageError: the text is neither; the message names the option.

    >>> parse_numbers("0.5,1,4", "--alpha"), parse_numbers("0:1:0.25", "--tau")
    ([0.5, 1.0, 4.0], [0.0, 0.25, 0.5, 0.75, 1.0])
    """
    try:
        numbers = [float(part) for part in text.split(":" if ":" in text else ",")]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError
        if ":" not in text:
            return numbers
        start, stop, step = numbers
        count = math.floor((stop - start) / step + 1e-9) + 1
        if step <= 0 or not 1 <= count <= _MOST_NUMBERS:
            raise ValueError
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"{option} is {text!r}; give numbers as 0.5,1,2 or a range START:STOP:STEP of at most {_MOST_NUMBERS:,} numbers"
        ) from error
    return [round(start + index * step, 12) for index in range(count)]


def check_plot(path: Path | None) -> None:
    """Raise before anything is computed where a figure could not be written.

    Raises:
        UsageError: the file's ending is unknown, or a PNG needs a package that is not installed.
        StoreError: the folder cannot be written.
    """
    if path is None:
        return
    from importlib.util import find_spec

    from bnlens._files import check_writable

    if path.suffix not in (".html", ".png"):
        raise UsageError(f"--plot {path} ends in {path.suffix or 'nothing'!r}; give a file that ends in .html or .png")
    if path.suffix == ".png" and find_spec("kaleido") is None:
        raise UsageError(
            f"--plot {path} needs the package kaleido; install bnlens[png], or give a file that ends in .html"
        )
    check_writable(path)


def write_plot(figure: Figure, path: Path, title: str, description: str) -> None:
    """Write a figure as a page that works offline, or as a picture.

    Raises:
        UsageError: the picture cannot be made, as without a Chromium.
    """
    from bnlens import render
    from bnlens._files import write_atomic

    figure.update_layout(template=render.template())
    if path.suffix == ".html":
        write_atomic(path, render.page(title, render.figure(figure, caption=description), description=description))
    else:
        render.label_log_axes(figure)
        figure.update_layout(paper_bgcolor="white", title={"text": title, "y": 0.97}, margin_t=110)
        try:
            picture = figure.to_image("png", width=1000, height=560, scale=2)
        except Exception as error:  # kaleido passes on whatever the browser says
            cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UsageError(
                f"cannot draw {path} ({cause}); install a Chromium, or give a file that ends in .html"
            ) from error
        write_atomic(path, picture)
    typer.echo(f"Written: {path}", err=True)


def print_table(table: Table, form: OutputFormat) -> None:
    """Print a table as CSV, or as JSON with its facts."""
    typer.echo(table.csv() if form is OutputFormat.csv else json.dumps(table.data(), indent=2) + "\n", nl=False)
