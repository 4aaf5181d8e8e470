"""RIS, the tagged format that reference managers read.

One field per line, ``TAG  - value``; a record begins with ``TY`` and ends with ``ER``. Text is UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnlens.paper._csl import CslItem, Date, citation_keys

__all__ = ["to_ris"]

_TYPES = {
    "article": "UNPB",
    "article-journal": "JOUR",
    "article-magazine": "MGZN",
    "article-newspaper": "NEWS",
    "book": "BOOK",
    "chapter": "CHAP",
    "dataset": "DATA",
    "manuscript": "UNPB",
    "paper-conference": "CONF",
    "patent": "PAT",
    "post-weblog": "BLOG",
    "report": "RPRT",
    "software": "COMP",
    "thesis": "THES",
    "webpage": "ELEC",
}


def to_ris(items: Sequence[Mapping[str, Any]]) -> str:
    """Return CSL-JSON records as RIS; types that RIS lacks become ``GEN``.

    >>> print(to_ris([{"id": "w", "type": "book", "title": "On Noise", "issued": {"date-parts": [[1962]]}}]))
    TY  - BOOK
    ID  - w
    TI  - On Noise
    PY  - 1962
    ER  -
    """
    found = [CslItem(item) for item in items]
    records = []
    for item, key in zip(found, citation_keys(found), strict=True):
        lines = [f"{tag}  - {value}" for tag, value in _fields(item, key) if value]
        records.append("\n".join([*lines, "ER  - \n"]))
    return "\n".join(records)


def _fields(item: CslItem, key: str) -> Iterator[tuple[str, str]]:
    yield "TY", _TYPES.get(item.type, "GEN")
    yield "ID", key
    for name in item.names("author"):
        yield "AU", name.inverted
    for name in item.names("editor"):
        yield "ED", name.inverted
    yield "TI", item.text("title")
    yield "T2", item.text("container-title")
    yield "T3", item.text("collection-title")
    date = item.date()
    yield "PY", str(date.year) if date.year is not None else date.literal
    yield "DA", _date(date)
    yield "VL", item.text("volume")
    yield "IS", item.text("issue", "number")
    first, last = item.pages
    yield "SP", first
    yield "EP", last
    yield "ET", item.text("edition")
    yield "PB", item.text("publisher")
    yield "CY", item.text("publisher-place", "event-place")
    yield "SN", item.text("ISSN", "ISBN")
    yield "DO", item.doi
    yield "UR", item.url.replace(";", "%3B")  # readers take a semicolon for the end of an address
    if item.arxiv:
        yield "AN", f"arXiv:{item.arxiv}"
    yield "M3", item.text("genre")
    for word in item.keywords:
        yield "KW", word
    yield "AB", item.text("abstract")
    yield "N1", item.text("note")
    yield "LA", item.text("language")


def _date(date: Date) -> str:
    """Return ``YYYY/MM/DD/``, the parts that are not known left empty; nothing where the year is all there is."""
    if date.year is None or date.month is None:
        return ""
    return f"{date.year:04d}/{date.month:02d}/{'' if date.day is None else f'{date.day:02d}'}/"
