"""Markdown that a reader has written, as HTML that can do nothing: no script, no picture, no style, no foreign scheme.

markdown-it-py takes all HTML as text and writes the elements of CommonMark and of tables alone; a link to another scheme stays
text, a picture becomes a link, and formulas are written by `bnlens.render.mathml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from bnlens.render import FormulaError, Html, mathml

__all__ = ["render_markdown"]

_LINK = re.compile(r"(?:https?://[^/]|mailto:|/(?![/\\])|#)", re.IGNORECASE)
"""Web addresses, mail, and places on this server."""
_REL = "nofollow noreferrer noopener"
_LOWEST, _SHIFT = 6, 2  # a page has its h1 and its h2 already
_NESTING = 20
_WIDE = 24  # characters of a formula in a line that may be too wide for a small screen


@lru_cache(maxsize=512)
def render_markdown(text: str) -> Html:
    """Return Markdown as HTML: CommonMark without HTML, with tables, strikethrough and formulas between dollar signs.

    A picture becomes a link to it, since nothing is loaded from elsewhere.
    """
    return Html(_parser().render(text))


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": _NESTING})
    parser.enable(["table", "strikethrough"])
    parser.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, allow_blank_lines=False)
    parser.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    parser.core.ruler.push("quiet", _quiet)
    written = {
        "math_inline": _formula,
        "math_block": _formula,
        "fence": _code,
        "code_block": _code,
        "table_open": lambda *_: '<div class="frame" role="group" aria-label="Table" tabindex="0"><table>\n',
        "table_close": lambda *_: "</table></div>\n",
    }
    for kind, rule in written.items():
        parser.add_render_rule(kind, rule)
    return parser


def _quiet(state: StateCore) -> None:
    """Fit a text into the page: headings below the page's own, numbers to the right, links in place of pictures."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + _SHIFT, _LOWEST)}"
        if token.attrs.pop("style", "") == "text-align:right":  # of a cell
            token.attrSet("class", "number")
        if token.children:
            token.children = list(_without_pictures(token.children))


def _without_pictures(tokens: Sequence[Token]) -> Iterator[Token]:
    depth = 0
    for index, token in enumerate(tokens):
        depth += token.nesting if token.type in ("link_open", "link_close") else 0
        address = str(token.attrGet("src" if token.type == "image" else "href") or "")
        if token.type == "link_open":
            token.attrSet("rel", _REL)
        if token.type != "image":
            yield token
            if token.type == "link_open" and tokens[index + 1].type == "link_close":
                yield _text(address)
        elif depth:
            yield _text(token.content or address)
        else:
            yield Token("link_open", "a", 1, attrs={"href": address, "rel": _REL})
            yield _text(token.content or address)
            yield Token("link_close", "a", -1)


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _formula(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    is_block = token.type == "math_block"
    try:
        formula = mathml(token.content.strip(), display=is_block)
    except FormulaError:  # it is shown as it was written
        source = f"<code>{escape(f'{token.markup}{token.content}{token.markup}')}</code>"
        return f"<p>{source}</p>\n" if is_block else source
    if is_block or len(token.content) > _WIDE:
        tag = "div" if is_block else "span"
        formula = Html(f'<{tag} class="formula" tabindex="0" role="group" aria-label="Formula">{formula}</{tag}>')
    return formula


def _code(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return f'<pre tabindex="0"><code>{escape(tokens[index].content)}</code></pre>\n'
