"""The pages, one file each; a page becomes part of navigation, application and export by its line in `PAGES`."""

from __future__ import annotations

from bnlens.web.pages import api, claims, discussion, findings, home, labs, network, paper, runs
from bnlens.web.site import Page

__all__ = ["PAGES"]

PAGES: tuple[Page, ...] = (
    home.PAGE,
    paper.PAGE,
    findings.PAGE,
    network.PAGE,
    claims.PAGE,
    runs.PAGE,
    labs.PAGE,
    discussion.PAGE,
    api.PAGE,
)
"""In the order of the navigation."""
