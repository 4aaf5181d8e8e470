"""The site, which all pages share and which renders them, and the description of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import bnlens
from bnlens import render
from bnlens.errors import StoreError
from bnlens.labs import value_text
from bnlens.web.assets import assets, folders
from bnlens.web.claims.results import Results, Snapshot
from bnlens.web.claims.runs import Runs
from bnlens.web.derivation.sheet import linked
from bnlens.web.downloads import CITATION_FORMATS
from bnlens.web.labs.answers import Answers
from bnlens.web.labs.lab import Lab
from bnlens.web.library import ReportLibrary
from bnlens.web.network.drawing import NetworkLibrary
from bnlens.web.notes.markdown import render_markdown
from bnlens.web.notes.store import Notes

__all__ = ["Page", "Site"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One entry of the navigation with the routes behind it.

    Attributes:
        title: what the navigation calls it.
        path: where it begins.
        routes: makes its routes.
        export: addresses that a static export writes besides ``path``.
    """

    title: str
    path: str
    routes: Callable[[Site], APIRouter]
    export: Callable[[Site], Iterable[str]] = field(default=lambda site: ())

    def is_at(self, path: str) -> bool:
        """Whether an address belongs to this page."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))

    def router(self, site: Site) -> APIRouter:
        """Return its routes, those of the API in the schema."""
        routes = self.routes(site)
        for route in routes.routes:
            if isinstance(route, APIRoute):
                route.include_in_schema = route.path.startswith("/api/")
        return routes


@dataclass(kw_only=True)
class Site:
    """One running page.

    Attributes:
        labs: by id, in the order of the page.
        answers: computed states of the labs.
        results: the claims with their newest runs in the folder.
        runs: those that readers have started.
        static: whether pages are written to files, where nothing can be asked of a server.
    """

    labs: Mapping[str, Lab]
    pages: Sequence[Page]
    answers: Answers
    reports: ReportLibrary
    networks: NetworkLibrary
    notes: Notes
    results: Results
    runs: Runs
    static: bool = False
    templates: Environment = field(init=False)

    def __post_init__(self) -> None:
        self.templates = Environment(
            loader=FileSystemLoader(folders()),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self.templates.globals.update(
            asset=lambda name: assets()[name].path,
            citation_formats=CITATION_FORMATS,
            mathml=render.mathml,
            note_count=self._note_count,
            site=self,
            table=render.table,
            version=bnlens.__version__,
        )
        self.templates.filters.update(
            counted=lambda count, noun: f"{count:,} {noun}{'' if count == 1 else 's'}",
            duration=_duration,
            linked=linked,
            markdown=render_markdown,
            mathematics=render.MathText,
            moment=_moment,
            value_text=value_text,
        )

    def render(
        self,
        request: Request,
        template: str,
        *,
        title: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> HTMLResponse:
        """Return a page.

        Args:
            request: what it answers.
            template: name of a file in ``templates/`` that extends ``base.html``.
            title: of window and heading.
            status: HTTP status.
            headers: further headers.
            **context: what the template needs; ``figures=True`` loads plotly.js.
        """
        text = self.templates.get_template(template).render(
            title=title, here=request.url.path, **{"figures": False, "description": "", "problem": "", **context}
        )
        return HTMLResponse(text, status, {"Cache-Control": "no-cache", **(headers or {})})

    async def show(self, request: Request, template: str, context: Callable[[Snapshot], Mapping[str, Any]]) -> Response:
        """Return a page of the newest results; ``context`` makes the arguments of `render` from them, in a thread."""
        snapshot = await self.results.get()
        return await run_in_threadpool(
            lambda: self.render(request, template, **{"problem": snapshot.problem, **context(snapshot)})
        )

    def _note_count(self, subject: str) -> int | None:
        """Return the number of notes on a subject; None if they cannot be read, which the page of the notes explains."""
        try:
            return self.notes.counts().get(subject, 0)
        except StoreError:
            return None


def _duration(seconds: float) -> str:
    """Return a time as words, in seconds below a minute and a half."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _moment(text: str) -> str:
    """Return a time in ISO 8601 as words; a text in another form is returned unchanged."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
