"""Formulas as MathML, which browsers draw and screen readers read."""

from __future__ import annotations

from functools import lru_cache

from bnlens.render import Html

__all__ = ["mathml"]


@lru_cache(maxsize=512)
def mathml(latex: str, *, display: bool = True) -> Html:
    """Return a formula as a MathML element.

    Args:
        latex: the formula, without dollar signs.
        display: whether it stands on a line of its own.
    """
    from latex2mathml.converter import convert

    return Html(convert(latex, display="block" if display else "inline"))
