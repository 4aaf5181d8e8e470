"""Markdown that a reader has written, as HTML that can do nothing: no script, no picture, no style, no foreign scheme.

markdown-it-py takes all HTML as text and writes the elements of CommonMark and of tables alone, without pictures, which become
links; a link to another scheme stays text, and formulas are written by `bnlens.render.mathml`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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

    A picture, ``![text](address)``, becomes a link behind an exclamation mark, since nothing is loaded from elsewhere.
    """
    return Html(_parser().render(text))


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": _NESTING})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, allow_blank_lines=False)
    parser.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    parser.core.ruler.push("fit", _fit)
    written = {
        "link_open": _link,
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


def _fit(state: StateCore) -> None:
    """Fit a text into the page: headings below the page's own, numbers to the right."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + _SHIFT, _LOWEST)}"
        if token.attrs.pop("style", "") == "text-align:right":  # of a cell
            token.attrSet("class", "number")


def _link(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Return the start of a link, with its address as text where it has none."""
    tokens[index].attrSet("rel", _REL)
    is_empty = tokens[index + 1].type == "link_close"
    start: str = self.renderToken(tokens, index, options, env)
    return start + escape(str(tokens[index].attrGet("href"))) if is_empty else start


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
