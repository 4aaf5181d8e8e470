"""The tagged format of EndNote (``.enw``, also called Refer): ``%A author``, one field per line, UTF-8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnlens.paper._csl import CslItem, Date, Name, citation_keys

__all__ = ["to_endnote"]

_TYPES = {
    "article": "Unpublished Work",
    "article-journal": "Journal Article",
    "article-magazine": "Magazine Article",
    "article-newspaper": "Newspaper Article",
    "book": "Book",
    "chapter": "Book Section",
    "dataset": "Dataset",
    "manuscript": "Manuscript",
    "paper-conference": "Conference Proceedings",
    "patent": "Patent",
    "report": "Report",
    "software": "Computer Program",
    "thesis": "Thesis",
    "webpage": "Web Page",
}
_PERIODICALS = {"article-journal", "article-magazine", "article-newspaper"}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def to_endnote(items: Sequence[Mapping[str, Any]]) -> str:
    """Return CSL-JSON records in EndNote's format; types that it lacks become ``Generic``.

    >>> print(to_endnote([{"id": "w", "type": "book", "title": "On Noise", "issued": {"date-parts": [[1962]]}}]))
    %0 Book
    %F w
    %T On Noise
    %D 1962
    """
    found = [CslItem(item) for item in items]
    records = []
    for item, key in zip(found, citation_keys(found), strict=True):
        records.append("".join(f"%{tag} {value}\n" for tag, value in _fields(item, key) if value))
    return "\n".join(records)


def _fields(item: CslItem, key: str) -> Iterator[tuple[str, str]]:
    yield "0", _TYPES.get(item.type, "Generic")
    yield "F", key
    for name in item.names("author"):
        yield "A", _name(name)
    for name in item.names("editor"):
        yield "E", _name(name)
    yield "T", item.text("title")
    yield ("J" if item.type in _PERIODICALS else "B"), item.text("container-title")
    yield "S", item.text("collection-title")
    date = item.date()
    yield "D", str(date.year) if date.year is not None else date.literal
    yield "8", _date(date)
    yield "V", item.text("volume")
    yield "N", item.text("issue", "number")
    yield "P", "-".join(page for page in item.pages if page)
    yield "7", item.text("edition")
    yield "I", item.text("publisher")
    yield "C", item.text("publisher-place", "event-place")
    yield "@", item.text("ISSN", "ISBN")
    yield "R", item.doi
    yield "U", item.url
    if item.arxiv:
        yield "M", f"arXiv:{item.arxiv}"
    yield "9", item.text("genre")
    for word in item.keywords:
        yield "K", word
    yield "X", item.text("abstract")
    yield "Z", item.text("note")
    yield "G", item.text("language")


def _name(name: Name) -> str:
    """Return the name; an institution ends with a comma, or EndNote would take it for a person and turn it round."""
    return f"{name.literal}," if name.literal else name.inverted


def _date(date: Date) -> str:
    if date.year is None or date.month is None:
        return ""
    return _MONTHS[date.month - 1] + (f" {date.day}" if date.day is not None else "")
