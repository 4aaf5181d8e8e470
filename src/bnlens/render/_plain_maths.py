"""Formulas as plain text, in one line of Unicode: ``ζγ²``, ``(ρ + 2)/(8M)``."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["plain_formula"]

_RAISED = dict(zip("0123456789+−()nT⊤′″‴*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿᵀᵀ′″‴*", strict=True))
_LOWERED = dict(zip("0123456789", "₀₁₂₃₄₅₆₇₈₉", strict=True))
_OVER = {"^": "\u0302", "¯": "\u0304", "~": "\u0303", "˜": "\u0303"}
_SPACED = frozenset("=≠<>≤≥≈≪≫→+−±∓·×∈∼") | {":="}
_CLOSING = frozenset("([|,") | _SPACED
_LETTER = r"[^\W\d_²³¹⁰-₉ᵀ]"
_WORD = re.compile(_LETTER + "{2,}")


def plain_formula(element: Element) -> str:
    """Return a MathML tree, as the converter makes it from LaTeX, in one line."""
    return re.sub(r" {2,}", " ", _line(element)).strip()


def _line(element: Element) -> str:
    tag, children = element.tag, list(element)
    if not children:
        text = html.unescape(element.text or "").replace("𝔼", "E")  # which few terminals have
        return " " if tag == "mspace" and not element.get("width", "").startswith("0.") else text
    if tag == "mfrac":
        return "/".join(
            _grouped(child, r"[+−±·×/=<> ]" if place == 0 else r".(?=.)") for place, child in enumerate(children)
        )
    if tag in ("msub", "msup", "msubsup"):
        base, *marks = map(_line, children)
        kinds = {"msub": "_", "msup": "^", "msubsup": "_^"}[tag]
        return base + "".join(_mark(kind, mark) for kind, mark in zip(kinds, marks, strict=True))
    if tag in ("mover", "munder"):
        base, mark = map(_line, children)
        return f"{base}{_OVER[mark]}" if mark in _OVER else f"{base}_{mark}"
    if tag == "msqrt":
        return f"√{_grouped(children[0], r'.(?=.)')}" if len(children) == 1 else f"√({_joined(children)})"
    if tag == "mtable":
        return "; ".join(", ".join(_line(cell) for cell in row) for row in children)
    return _joined(children)


def _joined(children: list[Element]) -> str:
    line, last = "", ""
    for child in children:
        text = _line(child)
        core = text.strip()
        if core == ",":
            text = ", "
        elif core in _SPACED:
            is_sign = core in "+−±∓" and (not line.strip() or last in _CLOSING)
            text = core if is_sign else f" {core} "
        elif core and _apart(last, core, child):
            text = f" {text}"
        line, last = line + text, core or last
    return line


def _apart(before: str, after: str, child: Element) -> bool:
    """Whether two neighbours need a space between them to be read as two: a word, or a fraction, beside a symbol."""
    if not before or before in _CLOSING or before == "/" or after in (")", "]", "|", "/"):
        return False
    if after in ("(", "["):
        return "/" in before
    return child.tag == "mfrac" or "/" in before or bool(_WORD.fullmatch(before) or _WORD.match(after))


def _grouped(element: Element, compound: str) -> str:
    """Return a part in brackets if it is made of several: of terms above a line, of any symbols below it."""
    line = _line(element).strip()
    return f"({line})" if re.search(compound, line) and not _is_atom(line) else line


def _is_atom(line: str) -> bool:
    return bool(re.fullmatch(rf"[\d.]+|{_LETTER}[⁰-₉¹²³′*\u0300-\u036f]*(?:_\w+)?", line)) or _is_bracketed(line)


def _is_bracketed(line: str) -> bool:
    depth = 0
    for place, mark in enumerate(line):
        depth += (mark in "([") - (mark in ")]")
        if depth == 0:
            return place == len(line) - 1 and line[:1] in "(["
    return False


def _mark(kind: str, mark: str) -> str:
    mark = mark.strip()
    known = _RAISED if kind == "^" else _LOWERED
    if all(each in known for each in mark):
        return "".join(known[each] for each in mark)
    return f"{kind}{mark}" if re.fullmatch(r"\w+", mark) else f"{kind}({mark})"
