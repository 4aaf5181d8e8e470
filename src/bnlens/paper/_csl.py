"""CSL-JSON, the form in which works are kept: what the writers read from a record.

A record is a dict as citation managers exchange it (citationstyles.org, CSL-JSON 1.0.2): ``id``, ``type``, ``title``,
``author`` (a list of names), ``issued`` (a date) and so on. Records come from users too, so nothing but ``type`` and a title,
a name or a URL to write is taken for granted, and text may hold line breaks.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bnlens.errors import DataError

__all__ = ["MONTHS", "CslItem", "Date", "Name", "check_item", "citation_keys", "parse_csl", "to_csl"]

_ARXIV = re.compile(
    r"(?:arxiv\.org/(?:abs|pdf)/|arxiv[:.]\s*)(\d{4}\.\d{4,5}|[a-z-]+(?:\.[a-z]{2})?/\d{7})", re.IGNORECASE
)
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_:.+-]{0,63}")
_SMALL_WORDS = {"a", "an", "and", "by", "for", "from", "in", "of", "on", "the", "to", "with"}


@dataclass(frozen=True)
class Name:
    """A person or, with only ``literal``, an institution.

    Attributes:
        family: without particles.
        given: given names or initials.
        particles: what stands before the family name, such as ``"van den"``.
        suffix: such as ``"Jr."``.
        literal: the whole name of an institution.
    """

    family: str = ""
    given: str = ""
    particles: str = ""
    suffix: str = ""
    literal: str = ""

    @property
    def last(self) -> str:
        """Particles and family name, or the institution."""
        return self.literal or " ".join(part for part in (self.particles, self.family) if part)

    @property
    def inverted(self) -> str:
        """``"van den Berg, Jan, Jr."``, as RIS and EndNote want it."""
        return ", ".join(part for part in (self.last, self.given, self.suffix) if part)


@dataclass(frozen=True)
class Date:
    """A date of which month and day may be unknown (None); ``literal`` is one that has no year in numbers."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    literal: str = ""


class CslItem:
    """A record with its fields as clean text: one line, no control characters, Unicode composed (NFC)."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def text(self, *names: str) -> str:
        """Return the first of these fields that is not empty."""
        for name in names:
            value = self.data.get(name)
            if isinstance(value, list) and value:  # some programs write titles and ISSNs as lists
                value = value[0]
            if isinstance(value, (str, int, float)) and not isinstance(value, bool) and (found := clean(value)):
                return found
        return ""

    @property
    def type(self) -> str:
        """CSL type, such as ``"paper-conference"``."""
        return self.text("type")

    def names(self, role: str) -> list[Name]:
        """Return the people of that role (``"author"``, ``"editor"``), in order; empty names are left out."""
        found = self.data.get(role)
        names = [_name(entry) for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
        return [name for name in names if name.last]

    def date(self, field: str = "issued") -> Date:
        """Return the date, the first one of a range."""
        found = self.data.get(field)
        return _date(found) if isinstance(found, Mapping) else Date()

    @property
    def pages(self) -> tuple[str, str]:
        """First and last page; the last is empty where there is one page or an article number."""
        first, *rest = re.split(r"\s*[-‐‑‒–—]+\s*", self.text("page"), maxsplit=1)
        return first or self.text("page-first"), rest[0] if rest else ""

    @property
    def doi(self) -> str:
        """Without ``https://doi.org/``."""
        return re.sub(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)", "", self.text("DOI"), flags=re.IGNORECASE)

    @property
    def arxiv(self) -> str:
        """The arXiv identifier, wherever citation managers put it; empty if there is none."""
        if self.text("archive").lower() == "arxiv" and (place := self.text("archive_location", "archive-location")):
            return re.sub(r"^arxiv:\s*", "", place, flags=re.IGNORECASE)
        for field in ("number", "DOI", "URL", "note"):
            if found := _ARXIV.search(self.text(field)):
                return found[1]
        return ""

    @property
    def url(self) -> str:
        """The web address, made from the identifiers where none is given."""
        if given := self.text("URL"):
            return given
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{quote(self.doi, safe='/:;().')}" if self.doi else ""

    @property
    def keywords(self) -> list[str]:
        """The keywords, one by one."""
        return [word for part in re.split(r"[,;]", self.text("keyword")) if (word := part.strip())]


def clean(value: object) -> str:
    r"""Return ``value`` as one line of composed Unicode without control characters.

    >>> clean(" A title\n over two lines\t")
    'A title over two lines'
    """
    text = unicodedata.normalize("NFC", str(value))
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") else c for c in text).split())


def _name(entry: Mapping[str, Any]) -> Name:
    def part(*keys: str) -> str:
        return " ".join(found for key in keys if isinstance(entry.get(key), str) and (found := clean(entry[key])))

    literal, family = part("literal"), part("family")
    if not family:  # one name only
        return Name(literal=literal or part("given"))
    return Name(
        family=family,
        given=part("given"),
        particles=part("dropping-particle", "non-dropping-particle"),
        suffix=part("suffix"),
    )


def _date(found: Mapping[str, Any]) -> Date:
    parts = found.get("date-parts")
    try:
        numbers = [int(number) for number in parts[0][:3]] if parts else []
    except (TypeError, ValueError, OverflowError, IndexError, KeyError):
        numbers = []
    if not numbers:
        text = clean(found.get("raw") or found.get("literal") or "")
        if not (numbers := [int(part) for part in match[0].split("-")] if (match := _ISO.match(text)) else []):
            return Date(literal=text)
    year, month, day = (*numbers, None, None)[:3]
    month = month if month is not None and 1 <= month <= 12 else None
    return Date(year, month, day if month is not None and day is not None and 1 <= day <= 31 else None)


_ISO = re.compile(r"\d{4}(?:-\d{1,2}){0,2}(?!\d)")


def check_item(item: object, place: str) -> Mapping[str, Any]:
    """Return ``item`` if it is a record that can be cited.

    Args:
        item: what was found.
        place: what it is called in the message, such as ``"entry 3"``.

    Raises:
        DataError: it is no CSL-JSON record, or has neither title, author nor URL.
    """
    if not isinstance(item, Mapping):
        raise DataError(f"{place} is {type(item).__name__}, not a CSL-JSON record; give an object with type and title")
    found = CslItem(item)
    if not found.type:
        raise DataError(f'{place} has no type; a CSL-JSON record has one, such as "article-journal"')
    if not (found.text("title") or found.names("author") or found.url):
        raise DataError(f"{place} has no title, author or URL; there is nothing to cite")
    return item


def parse_csl(text: str, source: str = "the text") -> list[dict[str, Any]]:
    """Read CSL-JSON, a list of records or a single one.

    Raises:
        DataError: it is not JSON, or not CSL-JSON; the message names the entry.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"{source} is not JSON ({error}); export it as CSL-JSON") from error
    items = found if isinstance(found, list) else [found]
    return [dict(check_item(item, f"entry {index} of {source}")) for index, item in enumerate(items, start=1)]


def to_csl(items: Sequence[Mapping[str, Any]]) -> str:
    """Return the records as CSL-JSON text, a list; ``custom``, which no other program knows, is left out."""
    plain = [{name: value for name, value in item.items() if name != "custom"} for item in items]
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def citation_keys(items: Sequence[CslItem]) -> list[str]:
    """Return a key for each record, ASCII and unique among them (BibTeX compares keys without case).

    A ``citation-key`` or an ``id`` that can serve as a key is kept. Else the key is made of the first author, the year and the
    first word of weight in the title. The second and further uses of a key get ``a``, ``b``, ...
    """
    keys: list[str] = []
    taken: set[str] = set()
    for item in items:
        given = next((key for field in ("citation-key", "id") if _KEY.fullmatch(key := item.text(field))), "")
        base = given or _made_key(item)
        key, count = base, 0
        while key.lower() in taken:
            key, count = base + _letters(count), count + 1
        taken.add(key.lower())
        keys.append(key)
    return keys


def _made_key(item: CslItem) -> str:
    authors = item.names("author") or item.names("editor")
    words = [word for word in map(_ascii, item.text("title").split()) if word and word.lower() not in _SMALL_WORDS]
    name = _ascii(authors[0].family or authors[0].literal) if authors else ""
    year = str(item.date().year or "")
    key = (name + year + (words[0] if words else "")).lower()[:60]
    return key if _KEY.fullmatch(key) else f"work{key}"


def _ascii(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", unicodedata.normalize("NFKD", text))


def _letters(index: int) -> str:
    letters = ""
    while index >= 0:
        letters = chr(ord("a") + index % 26) + letters
        index = index // 26 - 1
    return letters
