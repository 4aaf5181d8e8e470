"""The theory sheet by parts and sections, as HTML, and the references to it in other texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import NamedTuple

from bnlens.render import Html
from bnlens.web.derivation.code import Place, place_of
from bnlens.web.notes.markdown import render_markdown

__all__ = ["Part", "Section", "introduction", "linked", "mentioned", "parts", "places"]

_KEPT = re.compile(r"(```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$]*\$)", re.DOTALL)
_NAME = re.compile(r"\b([A-D]\.\d)\b")
_DOCUMENT = re.compile(r"\[([^\]]*)\]\((?:\.\./)+docs/[^)]*\)")  # is not beside the page
_CITED = re.compile(r"(?<=theory sheet )[^;]*", re.IGNORECASE)
_SPAN = re.compile(r"\b([A-D](?:\.\d)?)\b(?: to \1?([A-D]\.\d)\b)?")


class Section(NamedTuple):
    """A section, ``A.2``: its heading without the number, and its text in Markdown."""

    id: str
    title: str
    text: str

    @property
    def path(self) -> str:
        """Its address."""
        return _path(self.id)

    @property
    def html(self) -> Html:
        """Its text, with links to the code and to other sections."""
        return _html(self.text)


class Part(NamedTuple):
    """A part, ``A``, with its sections."""

    id: str
    title: str
    sections: Sequence[Section]

    @property
    def path(self) -> str:
        """Its address."""
        return _path(self.id)


@lru_cache(maxsize=1)
def parts() -> dict[str, Part]:
    """Return the parts of the sheet by their letters."""
    return {part.id: part for part in map(_part, "ABCD")}


def introduction() -> Html:
    """Return the text before the parts."""
    return _html(_read("introduction"))


def places() -> dict[Place, list[Section]]:
    """Return all places in the code that the sheet names, each with the sections that do; the introduction is none."""
    found: dict[Place, list[Section]] = {place: [] for place in _places(_read("introduction"))}
    for part in parts().values():
        for section in part.sections:
            for place in _places(section.text):
                found.setdefault(place, []).append(section)
    return found


def _places(text: str) -> list[Place]:
    """Return the places that a text names, each once, in its order."""
    named = map(place_of, re.findall(r"`(bnlens[./][^`\n]*)`", text))
    return list(dict.fromkeys(place for place in named if place))


def mentioned(source: str) -> list[str]:
    """Return the sections and parts that the source of a claim or lab names, spans written out.

    >>> mentioned("arXiv 1809.00846, Theorem 1; theory sheet A.2, A.4; theory sheet D")
    ['A.2', 'A.4', 'D']
    >>> mentioned("Theory sheet B.0 to B.2")
    ['B.0', 'B.1', 'B.2']
    """
    known = [section.id for part in parts().values() for section in part.sections]
    found: list[str] = []
    for cited in _CITED.findall(source):
        for first, last in _SPAN.findall(cited):
            found += known[known.index(first) : known.index(last) + 1] if last else [first]
    return list(dict.fromkeys(name for name in found if name in known or name in parts()))


def linked(source: str) -> Html:
    """Return the source of a claim or lab as HTML, with what it names of the sheet as links."""
    written, place = "", 0
    for cited in _CITED.finditer(source):
        written += escape(source[place : cited.start()])
        written += re.sub(
            r"\b[A-D](?:\.\d)?\b", lambda name: f'<a href="{_path(name[0])}">{name[0]}</a>', escape(cited[0])
        )
        place = cited.end()
    return Html(written + escape(source[place:]))


def _path(name: str) -> str:
    return f"/derivation/{name[0]}" + (f"#{name}" if len(name) > 1 else "")


def _read(name: str) -> str:
    return files("bnlens.theory").joinpath("sheet", f"{name}.md").read_text(encoding="utf-8")


def _part(letter: str) -> Part:
    head, *rest = re.split(r"^### ", _read(letter), flags=re.MULTILINE)
    return Part(letter, head.strip().removeprefix(f"## {letter}. "), [*map(_section, rest)])


def _section(text: str) -> Section:
    heading, _, body = text.partition("\n")
    number, _, title = heading.partition(" ")
    return Section(number, title, body)


def _html(text: str) -> Html:
    return render_markdown("".join(_with_links(_DOCUMENT.sub(r"\1", text))))


def _with_links(text: str) -> Iterator[str]:
    for part in _KEPT.split(text):
        if part.startswith("`bnlens"):
            place = place_of(part.strip("`"))
            yield f"[{part}]({place.path})" if place else part
        elif _KEPT.fullmatch(part):
            yield part
        else:
            yield _NAME.sub(lambda name: f"[{name[0]}]({_path(name[0])})", part)
