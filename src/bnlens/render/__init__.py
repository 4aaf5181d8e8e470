"""One look for everything bnlens shows: numbers, tables, figures, and self-contained HTML pages.

A page loads nothing from elsewhere: the styles, the figures and plotly.js are inside it. All text handed to these
functions is escaped unless it is `Html`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnlens.render._axes import dense, settle_log_axes
from bnlens.render._figure import add_line, add_points, category_pairs, figure, figure_html
from bnlens.render._look import PALETTE, ROLES, figure_or_new, new_figure, template
from bnlens.render._maths import FormulaError, MathText, mathml
from bnlens.render._number import number
from bnlens.render._page import page
from bnlens.render._picture import check_picture, save_picture
from bnlens.render._table import table
from bnlens.render._text import Html, Tone, badge, definitions, download, escape, paragraph, section, signed

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Figure

__all__ = [
    "PALETTE",
    "ROLES",
    "FormulaError",
    "Html",
    "MathText",
    "Tone",
    "add_line",
    "add_points",
    "badge",
    "category_pairs",
    "check_picture",
    "definitions",
    "dense",
    "download",
    "escape",
    "figure",
    "figure_html",
    "figure_or_new",
    "mathml",
    "new_figure",
    "number",
    "page",
    "paragraph",
    "save_picture",
    "section",
    "settle_log_axes",
    "signed",
    "table",
    "template",
]
