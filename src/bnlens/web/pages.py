"""The pages, each in the folder of its subject; a line in `PAGES` makes a page part of navigation, application and export."""

from __future__ import annotations

from bnlens.web.article import page as article
from bnlens.web.claims import findings_page
from bnlens.web.claims import page as claims
from bnlens.web.derivation import page as derivation
from bnlens.web.labs import page as labs
from bnlens.web.network import page as network
from bnlens.web.notes import page as notes
from bnlens.web.paper import page as paper
from bnlens.web.site import Page

__all__ = ["PAGES"]

PAGES: tuple[Page, ...] = (
    article.PAGE,
    paper.PAGE,
    findings_page.PAGE,
    network.PAGE,
    claims.PAGE,
    labs.PAGE,
    derivation.PAGE,
    notes.PAGE,
)
"""In the order of the navigation."""
