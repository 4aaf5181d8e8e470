"""The tagged formats of reference managers: RIS, and EndNote's (``.enw``, also called Refer). UTF-8, one field per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from bnlens.paper._csl import MONTHS, CslItem, citation_keys

__all__ = ["to_endnote", "to_ris"]

_TYPES = {  # RIS, EndNote
    "article": ("UNPB", "Unpublished Work"),
    "article-journal": ("JOUR", "Journal Article"),
    "article-magazine": ("MGZN", "Magazine Article"),
    "article-newspaper": ("NEWS", "Newspaper Article"),
    "book": ("BOOK", "Book"),
    "chapter": ("CHAP", "Book Section"),
    "dataset": ("DATA", "Dataset"),
    "manuscript": ("UNPB", "Manuscript"),
    "paper-conference": ("CONF", "Conference Proceedings"),
    "patent": ("PAT", "Patent"),
    "post-weblog": ("BLOG", "Generic"),
    "report": ("RPRT", "Report"),
    "software": ("COMP", "Computer Program"),
    "thesis": ("THES", "Thesis"),
    "webpage": ("ELEC", "Web Page"),
}
_PERIODICALS = {"article-journal", "article-magazine", "article-newspaper"}


def to_ris(items: Sequence[Mapping[str, Any]]) -> str:
    """Return CSL-JSON records as RIS; types that RIS lacks become ``GEN``.

    >>> print(to_ris([{"id": "w", "type": "book", "title": "On Noise", "issued": {"date-parts": [[1962]]}}]))
    TY  - BOOK
    ID  - w
    TI  - On Noise
    PY  - 1962
    ER  -
    """
    return "\n".join(f"{record}ER  - \n" for record in _records(items, 0, "{}  - {}\n"))


def to_endnote(items: Sequence[Mapping[str, Any]]) -> str:
    """Return CSL-JSON records in EndNote's format; types that it lacks become ``Generic``.

    >>> print(to_endnote([{"id": "w", "type": "book", "title": "On Noise", "issued": {"date-parts": [[1962]]}}]))
    %0 Book
    %F w
    %T On Noise
    %D 1962
    """
    return "\n".join(_records(items, 1, "%{} {}\n"))


def _records(items: Sequence[Mapping[str, Any]], form: Literal[0, 1], line: str) -> Iterator[str]:
    found = [CslItem(item) for item in items]
    for item, key in zip(found, citation_keys(found), strict=True):
        fields = [each[2 * form : 2 * form + 2] for each in _fields(item, key)]
        yield "".join(line.format(tag, value) for tag, value in fields if tag and value)


def _fields(item: CslItem, key: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield tag and value of each field in RIS, and in EndNote; without a tag a format lacks it."""
    types, date, (first, last) = _TYPES.get(item.type, ("GEN", "Generic")), item.date(), item.pages
    year, month, day = "" if date.year is None else str(date.year), date.month or 0, date.day or 0
    yield "TY", types[0], "0", types[1]
    yield _both("ID", "F", key)
    for tags, role in ((("AU", "A"), "author"), (("ED", "E"), "editor")):
        for name in item.names(role):
            # EndNote would take an institution without the comma for a person and turn it round.
            yield tags[0], name.inverted, tags[1], f"{name.literal}," if name.literal else name.inverted
    yield _both("TI", "T", item.text("title"))
    yield _both("T2", "J" if item.type in _PERIODICALS else "B", item.text("container-title"))
    yield _both("T3", "S", item.text("collection-title"))
    yield _both("PY", "D", year or date.literal)
    if year and month:
        slashed = f"{date.year:04d}/{month:02d}/{f'{day:02d}' if day else ''}/"
        yield "DA", slashed, "8", f"{MONTHS[month - 1]} {day or ''}".rstrip()
    yield _both("VL", "V", item.text("volume"))
    yield _both("IS", "N", item.text("issue", "number"))
    yield "SP", first, "P", "-".join(page for page in (first, last) if page)
    yield _both("EP", "", last)
    yield _both("ET", "7", item.text("edition"))
    yield _both("PB", "I", item.text("publisher"))
    yield _both("CY", "C", item.text("publisher-place", "event-place"))
    yield _both("SN", "@", item.text("ISSN", "ISBN"))
    yield _both("DO", "R", item.doi)
    yield "UR", item.url.replace(";", "%3B"), "U", item.url  # readers of RIS end an address at a semicolon
    yield _both("AN", "M", item.arxiv and f"arXiv:{item.arxiv}")
    yield _both("M3", "9", item.text("genre"))
    for word in item.keywords:
        yield _both("KW", "K", word)
    yield _both("AB", "X", item.text("abstract"))
    yield _both("N1", "Z", item.text("note"))
    yield _both("LA", "G", item.text("language"))


def _both(ris: str, endnote: str, value: str) -> tuple[str, str, str, str]:
    return ris, value, endnote, value
