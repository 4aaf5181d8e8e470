"""The pages, one file each; a page becomes part of navigation, application and export by its line in `PAGES`."""

from __future__ import annotations

from bnlens.web.claims import findings_page
from bnlens.web.claims import page as claims
from bnlens.web.derivation import page as derivation
from bnlens.web.labs import page as labs
from bnlens.web.network import page as network
from bnlens.web.notes import page as notes
from bnlens.web.pages import home
from bnlens.web.paper import page as paper
from bnlens.web.site import Page

__all__ = ["PAGES"]

PAGES: tuple[Page, ...] = (
    home.PAGE,
    paper.PAGE,
    findings_page.PAGE,
    network.PAGE,
    claims.PAGE,
    labs.PAGE,
    derivation.PAGE,
    notes.PAGE,
)
"""In the order of the navigation."""
