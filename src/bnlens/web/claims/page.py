"""The claims: a list of them, each in full, and the form that runs one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens import render
from bnlens._plain import csv_text
from bnlens.citing import cite
from bnlens.claims import TONES, Claim, StoredRun, named_claims
from bnlens.render import Html
from bnlens.web.claims.entries import ClaimAnswer, ClaimEntry, claim_answer, claim_entry
from bnlens.web.claims.findings import facets
from bnlens.web.claims.results import Snapshot
from bnlens.web.claims.runs import Run
from bnlens.web.derivation.sheet import mentioned, parts, places
from bnlens.web.downloads import CITATION_FORMATS, CitationFormat, attachment, citation_response, versioned
from bnlens.web.errors import NotFoundError
from bnlens.web.labs.claims import lab_link
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_LEAD = "Every statement that is checked here. What agreement means was written down before the result was looked at."
_GROUPS = {
    "D": "Decomposition of the gap",
    "L": "Learning dynamics",
    "G": "Generalization",
    "E": "Experiments in networks",
    "N": "Networks and the dial",
}
_Search = Annotated[str, Query(max_length=100)]
_Sort = Literal["id", "verdict"]
_Id = Annotated[
    str, InPath(max_length=20, pattern=r"^[A-Za-z]+\d+[A-Za-z]?$", description="Id of a claim, such as D1.")
]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/claims")
    async def table_page(request: Request, search: _Search = "", sort: _Sort = "id") -> Response:
        return await site.show(
            request, "claims.html", lambda found: _listed("Claims", found.claims.values(), found, search, sort)
        )

    @routes.get("/claims/{claim_id}")
    async def page(claim_id: str, request: Request, search: _Search = "", sort: _Sort = "id") -> Response:
        named = named_claims(claim_id, (await site.results.get()).claims.values())
        if len(named) > 1:
            title = f"{claim_id.upper()}, a claim in {len(named)} parts"
            return await site.show(request, "claims.html", lambda found: _listed(title, named, found, search, sort))
        return await site.show(request, "claim.html", lambda found: _claim(site, _find(found, claim_id), found))

    @routes.post("/claims/{claim_id}/run")
    async def run(claim_id: str) -> Response:
        snapshot = await site.results.get()
        found = _find(snapshot, claim_id)
        stored = snapshot.runs.get(found.id)
        again = stored is not None and stored.is_current and len(stored.run.records) == stored.jobs
        await site.runs.start(found, again=again)
        return RedirectResponse(f"/claims/{found.id}", 303)

    @routes.get("/runs")
    @routes.post("/runs/cancel")
    async def cancel(request: Request) -> Response:
        """Cancel the run, or lead to it, as the address of all runs did once."""
        if request.method == "POST":
            await site.runs.cancel()
        run = site.runs.current()
        return RedirectResponse(run.page if run else "/claims", 303)

    @routes.get("/runs/bar")
    async def bar(request: Request) -> Response:
        return site.render(request, "_run.html", title="Run")

    @routes.get("/api/runs/current", summary="The run that goes on, else the last one", tags=["runs"])
    async def current() -> Run:
        run = site.runs.current()
        if run is None:
            raise NotFoundError("No run was started yet.")
        return run

    @routes.get("/api/claims", summary="The claims, each with its newest run", tags=["claims"])
    async def listed() -> list[ClaimEntry]:
        snapshot = await site.results.get()
        return [claim_entry(claim, snapshot) for claim in snapshot.claims.values()]

    @routes.get("/api/claims/{claim_id}", summary="One claim in full", tags=["claims"])
    async def claim(claim_id: _Id) -> ClaimAnswer:
        snapshot = await site.results.get()
        return claim_answer(_find(snapshot, claim_id), snapshot)

    @routes.get("/api/claims/{claim_id}/table.csv", summary="Its table, CSV", tags=["claims"], response_class=Response)
    async def table(claim_id: _Id) -> Response:
        snapshot = await site.results.get()
        found = _find(snapshot, claim_id)
        stored = snapshot.runs.get(found.id)
        if stored is None or stored.run.finding is None:
            raise NotFoundError(f"{found.id} has not been judged in this folder: run it first.")
        return attachment(csv_text(stored.run.finding.rows), f"bnlens-{found.id.lower()}.csv")

    @routes.get(
        "/api/claims/{claim_id}/citation/{form}", summary="Its works, to cite", tags=["claims"], response_class=Response
    )
    async def citation(claim_id: _Id, form: CitationFormat) -> Response:
        found = _find(await site.results.get(), claim_id)
        return citation_response(cite(found), form, f"bnlens-{found.id.lower()}")

    return routes


def _find(snapshot: Snapshot, claim_id: str) -> Claim:
    """Return a claim; upper and lower case are the same."""
    named = named_claims(claim_id, snapshot.claims.values())
    if len(named) != 1:
        near = f"its parts {' and '.join(claim.id for claim in named)}" if named else ", ".join(snapshot.claims)
        raise NotFoundError(f"There is no claim {claim_id[:20]!r}; there are {near}.")
    return named[0]


def _listed(title: str, claims: Iterable[Claim], snapshot: Snapshot, search: str, sort: str) -> dict[str, Any]:
    """Return the claims that have all words of a search, by group in the order of the register, or by verdict."""
    entries = [claim_entry(claim, snapshot) for claim in claims]
    words = search.casefold().split()
    found = [entry for entry in entries if all(word in _text(entry) for word in words)]
    if sort == "verdict":
        order = [*TONES, ""]
        found.sort(key=lambda entry: order.index(entry.result.verdict if entry.result else ""))
        groups = [("", found)] if found else []
    else:
        groups = [
            (_GROUPS.get(letter, letter), [*group]) for letter, group in groupby(found, lambda entry: entry.id[0])
        ]
    return {"title": title, "description": _LEAD, "groups": groups, "search": search, "sort": sort}


def _text(entry: ClaimEntry) -> str:
    """Return the words that a search looks through."""
    paper = [entry.paper.words, entry.paper.section] if entry.paper else ["ours"]
    verdict = entry.result.verdict if entry.result else "not run yet"
    return " ".join((entry.id, entry.title, entry.statement, entry.quantity, verdict, *paper)).casefold()


def _claim(site: Site, claim: Claim, snapshot: Snapshot) -> dict[str, Any]:
    stored = snapshot.runs.get(claim.id)
    answer = claim_answer(claim, snapshot)
    return {
        "title": f"{claim.id}. {claim.title}",
        "figures": True,
        "entry": answer,
        "finding": stored.run.finding if stored else None,
        "figure": _figure(stored) if stored else None,
        "stem": versioned(f"bnlens-{claim.id.lower()}", answer.model_dump_json()),
        "works": cite(claim),
        "paths": _paths(site, claim),
    }


def _paths(site: Site, claim: Claim) -> dict[str, list[tuple[str, str]]]:
    """Return what a claim leads to, as texts with addresses: its labs, derivations and their code, and back to findings."""
    named = mentioned(claim.source)
    lab = lab_link(claim.id, site.labs)
    sections = [section for part in parts().values() for section in part.sections if section.id in named]
    code = {place.file: f"/derivation/code/{place.file}" for place, by in places().items() if set(sections) & set(by)}
    findings = [finding for facet in facets() for finding in facet.findings if claim.id in finding.claims]
    return {
        "Lab at its setting": [lab] if lab else [],
        "Derivation": [(f"{section.id} {section.title}", section.path) for section in sections],
        "Code": list(code.items()),
        "Findings": [(finding.text, f"/findings#{finding.id}") for finding in findings],
    }


def _figure(stored: StoredRun) -> Html | None:
    claim, finding, figure = stored.run.claim, stored.run.finding, stored.run.figure
    if finding is None or figure is None:
        return None
    caption = f"Figure {claim.id}. {claim.title}, computed at scale {stored.scale}."
    return render.figure(figure, caption=caption, label=f"Figure {claim.id}, {claim.title}. {finding.summary}")


def _export(site: Site) -> Iterable[str]:
    yield "/api/claims"
    for claim in site.results.register().values():
        yield f"/claims/{claim.id}"
        yield f"/api/claims/{claim.id}"
        yield f"/api/claims/{claim.id}/table.csv"
        yield from (f"/api/claims/{claim.id}/citation/{form}" for form in CITATION_FORMATS)


PAGE = Page(title="Claims", path="/claims", routes=_routes, export=_export)
