"""Receives a report file and shows it in the lab."""

from __future__ import annotations

from fastapi import APIRouter

from bnlens.web.site import Page, Site
from bnlens.web.uploads import add_sending

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    lab = site.labs["network"]
    add_sending(routes, "/labs/network/send", site.reports, lambda name: lab.path(lab.read({"report": name})))
    return routes


PAGE = Page(
    id="sent", title="Send a report", path="/labs/network/send", routes=_routes, listed=False, exported_path=False
)
