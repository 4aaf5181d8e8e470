"""``bnlens cite``: the paper and the works behind the claims, for people and for reference managers."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

__all__ = ["cite_command"]

_IDS = "Claims or works, such as D1 ioffe2015batch; none: the paper alone."


class CitationFormat(str, Enum):
    """Formats of works."""

    text = "text"
    ris = "ris"
    endnote = "endnote"
    bibtex = "bibtex"
    csl = "csl"


def cite_command(
    ids: Annotated[list[str] | None, Argument(metavar="IDS", show_default=False, help=_IDS)] = None,
    form: Annotated[CitationFormat, Option("--format", help="What to write.")] = CitationFormat.text,
    out: Annotated[Path | None, Option(metavar="FILE", show_default="standard output", help="File to write.")] = None,
) -> None:
    """Print what to cite: the paper, and the works that the methods behind the claims come from."""
    from bnlens.citing import cite

    citation = cite(*(ids or ()))
    if out is None:
        typer.echo(citation.to_format(form.value), nl=False)
    else:
        citation.save(out, form.value)
        noun = "work" if len(citation) == 1 else "works"
        typer.echo(f"{len(citation)} {noun} written to {out}", err=True)
