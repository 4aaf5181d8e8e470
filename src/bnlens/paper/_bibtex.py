"""BibTeX, for LaTeX: readable by BibTeX itself, with the fields for arXiv that biblatex and most styles know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnlens.paper._csl import MONTHS, CslItem, Name, citation_keys
from bnlens.paper._latex import escape, verbatim

__all__ = ["to_bibtex"]

_TYPES = {
    "article-journal": "article",
    "article-magazine": "article",
    "article-newspaper": "article",
    "book": "book",
    "chapter": "incollection",
    "paper-conference": "inproceedings",
    "report": "techreport",
    "thesis": "phdthesis",
}
_PUBLISHER = {"techreport": "institution", "phdthesis": "school"}


def to_bibtex(items: Sequence[Mapping[str, Any]], *, primary_class: Mapping[str, str] | None = None) -> str:
    """Return CSL-JSON records as BibTeX; types that it lacks become ``misc``.

    Titles stand in a second pair of braces, so that no style takes the capitals from names and acronyms.

    Args:
        items: the records.
        primary_class: from arXiv identifier to primary category, where known; becomes the field ``primaryclass``.

    >>> print(to_bibtex([{"id": "w", "type": "book", "title": "On Noise", "issued": {"date-parts": [[1962]]}}]))
    @book{w,
      title = {{On Noise}},
      year = {1962}
    }
    """
    found = [CslItem(item) for item in items]
    entries = []
    for item, key in zip(found, citation_keys(found), strict=True):
        fields = [f"  {name} = {value}" for name, value in _fields(item, primary_class or {}) if value.strip("{}")]
        entries.append(f"@{_TYPES.get(item.type, 'misc')}{{{key},\n" + ",\n".join(fields) + "\n}\n")
    return "\n".join(entries)


def _fields(item: CslItem, classes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    entry = _TYPES.get(item.type, "misc")

    def text(*names: str) -> str:
        return f"{{{escape(item.text(*names))}}}"

    yield "title", f"{{{text('title')}}}"
    yield "author", _names(item.names("author"))
    yield "editor", _names(item.names("editor"))
    container = {"article": "journal", "incollection": "booktitle", "inproceedings": "booktitle"}
    yield container.get(entry, "howpublished"), text("container-title")
    yield "series", text("collection-title")
    date = item.date()
    yield "year", f"{{{date.year if date.year is not None else escape(date.literal)}}}"
    yield "month", MONTHS[date.month - 1][:3].lower() if date.month is not None else "{}"
    yield "volume", text("volume")
    yield "number", text("number", "issue") if entry == "techreport" else text("issue")
    yield "pages", f"{{{'--'.join(escape(page) for page in item.pages if page)}}}"
    yield "edition", text("edition")
    yield _PUBLISHER.get(entry, "publisher"), text("publisher")
    yield "address", text("publisher-place", "event-place")
    yield "type", text("genre") if entry in _PUBLISHER else "{}"
    yield "isbn", text("ISBN")
    yield "issn", text("ISSN")
    yield "doi", f"{{{verbatim(item.doi)}}}"
    if item.arxiv:
        yield "eprint", f"{{{verbatim(item.arxiv)}}}"
        yield "archiveprefix", "{arXiv}"
        yield "primaryclass", f"{{{escape(classes.get(item.arxiv, ''))}}}"
    yield "url", f"{{{verbatim(item.url)}}}"
    yield "keywords", f"{{{escape(', '.join(item.keywords))}}}"
    yield "abstract", text("abstract")
    yield "note", text("note")
    yield "language", text("language")


def _names(names: Sequence[Name]) -> str:
    return f"{{{' and '.join(map(_name, names))}}}"


def _name(name: Name) -> str:
    """Return ``von Last, Jr, First``; braces keep together what BibTeX would take apart at a comma or the word *and*."""
    if name.literal:
        return f"{{{escape(name.literal)}}}"
    family = _kept(name.family)
    if not name.particles and family == escape(name.family) and re.match(r"[a-z]", name.family):
        family = f"{{{family}}}"  # else a family name in lower case would become a particle
    last = " ".join(part for part in (_kept(name.particles), family) if part)
    if name.suffix:
        return f"{last}, {_kept(name.suffix)}, {_kept(name.given) or '{}'}"
    if name.given:
        return f"{last}, {_kept(name.given)}"
    single = " " not in last or re.match(r"[a-z]", name.particles)
    return last if single else f"{{{last}}}"  # without a comma the last word alone would be the family name


def _kept(part: str) -> str:
    apart = "," in part or re.search(r"(?:^|\s)and(?:\s|$)", part, re.IGNORECASE)
    return f"{{{escape(part)}}}" if apart else escape(part)
