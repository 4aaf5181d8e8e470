"""Works to cite, as `bnlens.cite` returns them, in the formats of reference managers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bnlens._arguments import checked
from bnlens._files import check_writable, write_atomic
from bnlens.errors import UsageError
from bnlens.paper._bibtex import to_bibtex
from bnlens.paper._csl import check_item, parse_csl, to_csl
from bnlens.paper._record import record
from bnlens.paper._tagged import to_endnote, to_ris
from bnlens.paper._text import to_text

__all__ = ["FORMATS", "Citation"]

FORMATS = ("text", "ris", "endnote", "bibtex", "csl")


class Citation:
    """One or more works to cite; ``repr`` is what a person reads.

    Attributes:
        items: the works as CSL-JSON records.

    Raises:
        DataError: an item is not a CSL-JSON record.

    >>> print(Citation([{"id": "note", "type": "book", "title": "On Noise"}]))
    On Noise (n.d.).
    """

    @checked
    def __init__(self, items: Sequence[Mapping[str, Any]]) -> None:
        self.items = tuple(check_item(item, f"entry {index}") for index, item in enumerate(items, start=1))

    @classmethod
    @checked
    def from_csl(cls, text: str) -> Citation:
        """Read works from CSL-JSON text, as citation managers export it.

        Raises:
            DataError: it is not CSL-JSON.
        """
        return cls(parse_csl(text))

    def __repr__(self) -> str:
        return self.to_text().rstrip("\n")

    def __len__(self) -> int:
        return len(self.items)

    def to_text(self) -> str:
        """Return one line per work."""
        return to_text(self.items)

    def to_ris(self) -> str:
        """Return the works as RIS."""
        return to_ris(self.items)

    def to_endnote(self) -> str:
        """Return the works in EndNote's tagged format."""
        return to_endnote(self.items)

    def to_bibtex(self) -> str:
        """Return the works as BibTeX; ids that can serve as keys are kept, and keys are unique."""
        paper = record()
        return to_bibtex(self.items, primary_class={paper.arxiv: paper.primary_category})

    def to_csl(self) -> str:
        """Return the works as CSL-JSON, a list."""
        return to_csl(self.items)

    @checked
    def to_format(self, name: str) -> str:
        """Return the works in one of `FORMATS`, by its name.

        Raises:
            UsageError: there is no such format.
        """
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}; use one of {', '.join(FORMATS)}")
        text: str = getattr(self, f"to_{name}")()
        return text

    @checked
    def save(self, path: str | os.PathLike[str], form: str) -> None:
        """Write the works to a file in one of `FORMATS`.

        Raises:
            UsageError: there is no such format.
            StoreError: ``path`` cannot be written.
        """
        text = self.to_format(form)
        check_writable(path)
        write_atomic(path, text)
