"""Mathematics: formulas in LaTeX, and texts with such formulas between dollar signs, as MathML and as plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bnlens.render._plain_maths import plain_formula
from bnlens.render._text import Html, signed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["FormulaError", "MathText", "mathml"]

_MAX_LENGTH = 1000
_MAX_DEPTH = 40
_MACROS = re.compile(r"\\(?:newcommand|renewcommand|providecommand|def|let|gdef|edef)(?![A-Za-z])")
_INLINE = re.compile(r"\$(?!\s)([^$]+?)(?<!\s)\$(?!\d)")
_TAGS = (
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd "
    "mtext mtr munder munderover"
)
_ATTRIBUTES = (
    "accent columnalign display displaystyle fence form largeop linethickness lspace mathvariant maxsize minsize "
    "movablelimits notation rspace scriptlevel separator stretchy symmetric xmlns"
)
_VALUE = re.compile(r"[\w .%:/-]{0,64}")
_SPACE = re.compile(r"-?(?:\d|\d?\.\d{1,3})em")


class FormulaError(ValueError):
    """A formula cannot be drawn."""


@lru_cache(maxsize=1024)
def mathml(latex: str, *, display: bool = True) -> Html:
    r"""Return a formula, whoever wrote it, as MathML that holds nothing but MathML.

    The converter writes text such as that of ``\text{<b>}`` into its result as markup. So its tree is written here, from a
    list of elements and attributes, with all text escaped. Macros are refused: a short formula could grow without end.

    Args:
        latex: the formula, without dollar signs.
        display: whether it stands on a line of its own.

    Raises:
        FormulaError: it is empty, too long, too deep, has macros, or the converter does not understand it.
    """
    return Html(_written(_tree(latex, display=display)))


class MathText(str):
    r"""Text with formulas in LaTeX between dollar signs.

    As a string it is plain text, with the formulas in Unicode, for terminals and JSON; put into a page it has them as MathML.
    What cannot be drawn stays as it was written.

    >>> text = MathText(r"The gap is $\zeta\gamma^2$, with $\zeta = \frac{3}{4M}$.")
    >>> print(text)
    The gap is ζγ², with ζ = 3/(4M).
    >>> text.__html__()
    'The gap is <math ...</math>.'
    """

    source: str
    """The text as it was written."""

    def __new__(cls, source: str) -> MathText:
        """Return a text; one that is a `MathText` stays as it is."""
        if isinstance(source, cls):
            return source
        text = super().__new__(cls, "".join(_plain(latex) if latex else part for part, latex in _parts(source)))
        text.source = source
        return text

    def __getnewargs__(self) -> tuple[str]:
        """Tell copies and pickles to begin with the source."""
        return (self.source,)

    def __html__(self) -> str:
        """Return the text as HTML, with its formulas as MathML."""
        return "".join(
            mathml(latex, display=False) if latex else html.escape(signed(part)) for part, latex in _parts(self.source)
        )


def _parts(source: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a text as they are written, each with its formula if it is one that can be drawn."""
    place = 0
    for found in _INLINE.finditer(source):
        yield source[place : found.start()], ""
        yield found[0], found[1] if _is_drawn(found[1]) else ""
        place = found.end()
    yield source[place:], ""


def _is_drawn(latex: str) -> bool:
    try:
        return bool(mathml(latex, display=False))
    except FormulaError:
        return False


def _plain(latex: str) -> str:
    return plain_formula(_tree(latex, display=False))


def _tree(latex: str, *, display: bool) -> Any:
    from latex2mathml.converter import convert_to_element

    if not latex or len(latex) > _MAX_LENGTH or _depth(latex) > _MAX_DEPTH or _MACROS.search(latex):
        raise FormulaError(f"cannot draw the formula {latex[:60]!r}: it is empty, too long or too deep, or has macros")
    try:
        return convert_to_element(latex, display="block" if display else "inline")
    except Exception as error:  # the converter raises whatever its parser stumbles over
        raise FormulaError(f"cannot draw the formula {latex[:60]!r}: it is not LaTeX that is known here") from error


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
    tag = "mo" if element.tag == "mi" and inner in _SIGNS else element.tag
    attributes = "".join(
        f' {name}="{html.escape(value)}"'
        for name, value in element.attrib.items()
        if (name in _ATTRIBUTES.split() and _VALUE.fullmatch(value)) or (name == "width" and _SPACE.fullmatch(value))
    )
    if tag == "mi" and len(inner) == 1 and "Α" <= inner <= "Ω":
        attributes = ' mathvariant="normal"'  # capitals stand upright, as in print
    return f"<{tag}{attributes}>{inner}</{tag}>"


_SIGNS = tuple("±∓⟨⟩")
"""Operators that the converter takes for letters."""


def _text(text: str | None) -> str:
    """Return a text of the converter, which has entities in it, escaped once."""
    return html.escape(html.unescape(text or ""))
