"""Formulas as MathML, as bnlens writes them, which browsers draw themselves: a page loads nothing from elsewhere."""

from typing import Any

from docutils.nodes import Element, SkipNode
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from bnlens.render import mathml


def inline(writer: HTML5Translator, node: Element) -> None:
    """Write a formula in a line."""
    writer.body.append(mathml(node.astext(), display=False))
    raise SkipNode


def block(writer: HTML5Translator, node: Element) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(mathml(node.astext()))
    raise SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the writer `mathml`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}
