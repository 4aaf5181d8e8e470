"""A citation that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.paper._csl import CslItem, Name

__all__ = ["to_text"]


def to_text(items: Sequence[Mapping[str, Any]]) -> str:
    """Return one paragraph per record: authors (year). title. where. identifiers.

    >>> print(to_text([{"type": "book", "title": "On Noise", "author": [{"family": "Bös", "given": "Siegfried"}]}]))
    Bös, S. (n.d.). On Noise.
    """
    return "\n".join(map(_entry, map(CslItem, items))) + "\n" if items else ""


def _entry(item: CslItem) -> str:
    date = item.date()
    year = f"({date.year if date.year is not None else date.literal or 'n.d.'})"
    authors = _people(item.names("author"))
    title = item.text("title")
    place = item.url or (f"https://doi.org/{item.doi}" if item.doi else "")
    head = [f"{authors} {year}.", _stop(title)] if authors else [f"{title} {year}."]
    return " ".join(part for part in (*head, _stop(_where(item)), _identifier(item, place), place) if part)


def _stop(text: str) -> str:
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."


def _people(names: Sequence[Name]) -> str:
    *others, last = [_person(name) for name in names] or [""]
    return f"{', '.join(others)}{',' if len(others) > 1 else ''} & {last}" if others else last


def _person(name: Name) -> str:
    initials = " ".join("-".join(f"{part[0]}." for part in word.split("-") if part) for word in name.given.split())
    return ", ".join(part for part in (name.last, initials, name.suffix) if part)


def _where(item: CslItem) -> str:
    container = item.text("container-title")
    volume, issue = item.text("volume"), item.text("issue")
    if item.type == "article-journal":
        numbers = volume + (f"({issue})" if issue else "")
    else:
        container = f"In {container}" if container else ""
        numbers = " ".join(part for part in (item.text("collection-title"), volume) if part)
    pages = "–".join(page for page in item.pages if page)
    report = " ".join(part for part in (item.text("genre"), item.text("number")) if part)
    return ", ".join(part for part in (container, numbers, pages, report, item.text("publisher")) if part)


def _identifier(item: CslItem, place: str) -> str:
    """Return the arXiv number or DOI, unless the address shows it."""
    known = [text for text, number in ((f"arXiv:{item.arxiv}", item.arxiv), (f"doi:{item.doi}", item.doi)) if number]
    shown = [text for text in known if text.partition(":")[2].lower() not in place.lower()]
    return _stop(", ".join(shown))
