"""The small pieces of a page: escaped text, paragraphs, sections, badges, definition lists, downloads."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

__all__ = [
    "Html",
    "Tone",
    "badge",
    "definitions",
    "download",
    "escape",
    "framed",
    "paragraph",
    "section",
    "signed",
    "spoken",
]

_HYPHEN = re.compile(r"(?<![\w)\]}-])-(?=\.?\d)")

Tone = Literal["good", "fair", "poor", "plain"]


class Html(str):
    """Text that is HTML already and is put into a page as it stands."""

    __slots__ = ()

    def __html__(self) -> str:
        """Tell template engines that the text is HTML already."""
        return self


def escape(text: object) -> Html:
    """Return ``text`` safe for an element or a quoted attribute; `Html` stays as it is, `MathText` gets its formulas.

    >>> escape("a < b"), escape(Html("<b>bold</b>"))
    ('a &lt; b', '<b>bold</b>')
    """
    return Html(text.__html__() if hasattr(text, "__html__") else html.escape(str(text)))


def signed(text: str) -> str:
    """Return ``text`` with minus signs in place of hyphens before its numbers.

    >>> signed("-0.5 to 1, of 1-bit nets, 1e-5, M-2")
    '−0.5 to 1, of 1-bit nets, 1e-5, M-2'
    """
    return _HYPHEN.sub("−", text)


def spoken(text: object) -> Html:
    """Return ``text`` without elements, safe for an attribute that is read out."""
    return Html(re.sub(r"<[^>]*>", "", text).replace('"', "&quot;")) if isinstance(text, Html) else escape(f"{text}")


def framed(content: str, label: object) -> Html:
    """Return what may be wider than the page inside a frame that scrolls and shows that it does, with text that names it."""
    return Html(f'<div class="frame" role="region" aria-label="{spoken(label)}" tabindex="0">\n{content}\n</div>')


def paragraph(text: object, *, kind: Literal["", "lead", "note", "finding", "error"] = "") -> Html:
    """Return a paragraph; ``kind`` chooses its look.

    >>> paragraph("2 < 3", kind="lead")
    '<p class="lead">2 &lt; 3</p>'
    """
    attribute = f' class="{kind}"' if kind else ""
    return Html(f"<p{attribute}>{escape(text)}</p>")


def badge(text: object, tone: Tone = "plain") -> Html:
    """Return a short word on a coloured ground, such as a verdict. The word carries the meaning, the colour repeats it.

    >>> badge("holds", "good")
    '<span class="badge good">holds</span>'
    """
    return Html(f'<span class="badge {tone}">{escape(text)}</span>')


def section(heading: object, body: str, *, anchor: str, level: Literal[2, 3] = 2) -> Html:
    """Return a section with a heading that can be linked to as ``#anchor``.

    >>> print(section("Numbers", paragraph("None."), anchor="numbers"))
    <section id="numbers" aria-labelledby="numbers-heading">
    <h2 id="numbers-heading">Numbers</h2>
    <p>None.</p>
    </section>
    """
    anchor = escape(anchor)
    title = f'<h{level} id="{anchor}-heading">{escape(heading)}</h{level}>'
    return Html(f'<section id="{anchor}" aria-labelledby="{anchor}-heading">\n{title}\n{body}\n</section>')


def definitions(items: Mapping[str, object]) -> Html:
    """Return a list of terms with their values.

    >>> print(definitions({"Seed": 0}))
    <dl>
    <div><dt>Seed</dt><dd>0</dd></div>
    </dl>
    """
    pairs = "\n".join(f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>" for term, value in items.items())
    return Html(f"<dl>\n{pairs}\n</dl>")


def download(text: str, *, filename: str, label: object, media_type: str = "text/plain") -> Html:
    """Return a link that saves ``text`` as a file; the text itself is inside the link (a ``data:`` address).

    >>> download("a,b", filename="t.csv", label="CSV", media_type="text/csv")
    '<a class="download" download="t.csv" href="data:text/csv;charset=utf-8,a%2Cb">CSV</a>'
    """
    address = f"data:{media_type};charset=utf-8,{quote(text, safe='')}"
    return Html(f'<a class="download" download="{escape(filename)}" href="{address}">{escape(label)}</a>')
