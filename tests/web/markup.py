"""A page taken apart by a parser, so that what it holds is looked at as elements and not as text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Element", "Page", "scheme"]

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


@dataclass
class Element:
    """An element with what it lies in."""

    tag: str
    attributes: dict[str, str]
    inside: tuple[Element, ...]
    text: str = field(default="", compare=False)

    def is_in(self, **attributes: str) -> bool:
        """Whether it lies in an element with these attributes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return any(wanted.items() <= outer.attributes.items() for outer in self.inside)


class Page(HTMLParser):
    """The elements of a page in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(self._open))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index].tag == tag:
                del self._open[index:]
                break

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def find(self, tag: str = "", **attributes: str) -> list[Element]:
        """Return the elements with this tag and these attributes; ``_`` stands for ``-``."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            found for found in self.elements if tag in ("", found.tag) and wanted.items() <= found.attributes.items()
        ]

    def one(self, tag: str = "", **attributes: str) -> Element:
        """As `find`, for what is there once."""
        [found] = self.find(tag, **attributes)
        return found


def scheme(address: str) -> str:
    """Return the scheme of an address as a browser reads it; empty if it has none."""
    address = re.sub(r"[\t\r\n]", "", address).lstrip("".join(map(chr, range(33))))
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", address)
    return found[1].lower() if found else ""
