"""Formulas as MathML, which browsers draw and screen readers read."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from xml.etree.ElementTree import Element

from bnlens.render import Html

__all__ = ["guarded_mathml", "mathml"]

_MAX_LENGTH = 1000
_MAX_DEPTH = 40
_MACROS = re.compile(r"\\(?:newcommand|renewcommand|providecommand|def|let|gdef|edef)(?![A-Za-z])")
_TAGS = (
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd "
    "mtext mtr munder munderover"
)
_ATTRIBUTES = (
    "accent columnalign display displaystyle fence form largeop linethickness lspace mathvariant maxsize minsize "
    "movablelimits notation rspace scriptlevel separator stretchy symmetric xmlns"
)
_VALUE = re.compile(r"[\w .%:/-]{0,64}")


@lru_cache(maxsize=512)
def mathml(latex: str, *, display: bool = True) -> Html:
    """Return a formula of ours as a MathML element; for one that a reader wrote there is `guarded_mathml`.

    Args:
        latex: the formula, without dollar signs.
        display: whether it stands on a line of its own.
    """
    from latex2mathml.converter import convert

    return Html(convert(latex, display="block" if display else "inline"))


@lru_cache(maxsize=512)
def guarded_mathml(latex: str, *, display: bool) -> Html | None:
    r"""Return a formula that a reader wrote as MathML that holds nothing but MathML, or None if it cannot be drawn.

    The converter writes text such as that of ``\text{<b>}`` into its result as markup. So its tree is written here, from a
    list of elements and attributes, with all text escaped. Macros are refused: a short formula could grow without end.
    The arguments are those of `mathml`.
    """
    from latex2mathml.converter import convert_to_element

    if not latex or len(latex) > _MAX_LENGTH or _depth(latex) > _MAX_DEPTH or _MACROS.search(latex):
        return None
    try:
        return Html(_written(convert_to_element(latex, display="block" if display else "inline")))
    except Exception:  # noqa: BLE001 - the converter raises whatever its parser stumbles over; none of it is ours
        return None


def _depth(latex: str) -> int:
    depth = deepest = 0
    for mark in latex:
        depth += (mark in "{([") - (mark in "})]")
        deepest = max(deepest, depth)
    return deepest + latex.count("\\left")


def _written(element: Element) -> str:
    inner = _text(element.text) + "".join(_written(child) + _text(child.tail) for child in element)
    if element.tag not in _TAGS.split():
        return inner
    attributes = "".join(
        f' {name}="{html.escape(value)}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES.split() and _VALUE.fullmatch(value)
    )
    return f"<{element.tag}{attributes}>{inner}</{element.tag}>"


def _text(text: str | None) -> str:
    """Return a text of the converter, which has entities in it, escaped once."""
    return html.escape(html.unescape(text or ""))
