"""The derivations: contents, a page for each part of the theory sheet, and the files of code that it names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.web.claims.entries import ClaimEntry, claim_entry
from bnlens.web.claims.results import Snapshot
from bnlens.web.derivation.code import lines_of
from bnlens.web.derivation.sheet import Part, introduction, mentioned, parts, places
from bnlens.web.errors import NotFoundError
from bnlens.web.labs.lab import Lab
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/derivation")
    def contents(request: Request) -> Response:
        found = parts().values()
        return site.render(request, "derivation.html", title="Derivations", introduction=introduction(), parts=found)

    @routes.get("/derivation/{name}")
    async def part(name: str, request: Request) -> Response:
        found = parts().get(name[:1].upper())
        if found is None or not (len(name) == 1 or any(name.upper() == section.id for section in found.sections)):
            raise NotFoundError(
                f"There is no section {name[:20]!r} of the theory sheet; its parts are {', '.join(parts())}."
            )
        if name != found.id:
            return RedirectResponse(f"/derivation/{found.id}" + (f"#{name.upper()}" if name[1:] else ""))
        return await site.show(request, "part.html", lambda snapshot: _part(site, found, snapshot))

    @routes.get("/derivation/code/{file:path}")
    def code(file: str, request: Request) -> Response:
        named = {place: sections for place, sections in places().items() if place.file == file}
        if not named:
            raise NotFoundError(f"The theory sheet names no file {file[:100]!r}.")
        sections = list(dict.fromkeys(section for found in named.values() for section in found))
        return site.render(request, "code.html", title=f"bnlens/{file}", lines=lines_of(file), sections=sections)

    return routes


def _part(site: Site, part: Part, snapshot: Snapshot) -> dict[str, Any]:
    behind: dict[str, tuple[list[ClaimEntry], list[Lab]]] = {}
    for claim in snapshot.claims.values():
        for name in mentioned(claim.source):
            behind.setdefault(name, ([], []))[0].append(claim_entry(claim, snapshot))
    for lab in site.labs.values():
        for name in mentioned(lab.source):
            behind.setdefault(name, ([], []))[1].append(lab)
    return {"title": f"{part.id}. {part.title}", "part": part, "parts": parts().values(), "behind": behind}


def _export(site: Site) -> Iterable[str]:
    yield from (part.path for part in parts().values())
    yield from dict.fromkeys(f"/derivation/code/{place.file}" for place in places())


PAGE = Page(title="Derivations", path="/derivation", routes=_routes, export=_export)
