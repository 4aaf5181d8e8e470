"""The local notes: written, changed and deleted by forms that need no script, and that lose nothing that was typed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import BnlensError, StoreError
from bnlens.web.downloads import attachment
from bnlens.web.errors import NotFoundError
from bnlens.web.notes.store import MAX_ID, MAX_TEXT, Note, NoteNotFoundError
from bnlens.web.security import MAX_BODY, check_length
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_FIELDS = ("text", "subject")


async def _sent(request: Request) -> tuple[str, str]:
    check_length(request, MAX_BODY, f"The form is larger than {MAX_BODY // 2**10} KiB: shorten the note.")
    async with request.form(max_files=0, max_fields=8) as form:
        text, subject = (value if isinstance(value := form.get(name), str) else "" for name in _FIELDS)
    return text.replace("\r\n", "\n"), subject


_Sent = Annotated[tuple[str, str], Depends(_sent)]
_Id = Annotated[int, InPath(ge=1, le=MAX_ID)]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.get("/discussion")
    def discussion(request: Request, subject: str | None = None) -> Response:
        return _list(site, request, subject)

    @routes.post("/discussion")
    def add(request: Request, sent: _Sent) -> Response:
        return _keep(site, request, *sent)

    @routes.post("/discussion/{note_id}/edit")
    def change(note_id: _Id, request: Request, sent: _Sent) -> Response:
        return _keep(site, request, *sent, note_id)

    @routes.get("/discussion/{note_id}/edit")
    def edit(note_id: _Id, request: Request) -> Response:
        note = site.notes.get(note_id)
        return _form(site, request, note.text, note.subject, note_id)

    @routes.post("/discussion/{note_id}/delete")
    def delete(note_id: _Id) -> Response:
        return RedirectResponse(_address(site.notes.remove(note_id).subject), 303)

    @routes.get("/api/notes", summary="The notes, newest last", tags=["notes"])
    def notes() -> list[Note]:
        return site.notes.all()

    @routes.get("/api/notes.md", summary="The notes as one Markdown file", tags=["notes"], response_class=Response)
    def markdown() -> Response:
        return attachment("\n".join(map(_markdown, site.notes.all())), "bnlens-notes.md", "text/markdown")

    return routes


def _list(site: Site, request: Request, given: str | None) -> Response:
    subject, problem, notes, counts = None, "", [], {}
    try:
        counts = site.notes.counts()
        subject = None if given is None else _subject(site, given, counts)
        notes = site.notes.all(subject)
    except StoreError as error:
        problem = str(error)
    where = "" if site.static else " They stay on this machine, in notes.sqlite of the served folder."
    return site.render(
        request,
        "discussion.html",
        title="Discussion",
        description=f"Notes on the paper and its claims.{where}",
        notes=notes,
        counts=counts,
        subject=subject,
        text="",
        problem=problem,
        **_words(site, subject or ""),
    )


def _keep(site: Site, request: Request, text: str, subject: str, note_id: int | None = None) -> Response:
    """Store what a form has sent and lead to it, or show the form again with the problem."""
    try:
        if note_id is None:
            note = site.notes.add(text, _subject(site, subject))
        else:
            note = site.notes.change(note_id, text, _subject(site, subject, [site.notes.get(note_id).subject]))
    except NoteNotFoundError as error:
        return _form(site, request, text, subject, None, f"{error} Send your text again to keep it as a new note.")
    except BnlensError as error:
        return _form(site, request, text, subject, note_id, str(error))
    return RedirectResponse(_address(note.subject, note.id), 303)


def _form(site: Site, request: Request, text: str, subject: str, note_id: int | None, problem: str = "") -> Response:
    """Return the form alone, to change a note or to write one."""
    shown = {"text": text, "subject": subject, "note_id": note_id, "problem": problem, **_words(site, subject)}
    title = f"Change note {note_id}" if note_id else "Write a note"
    return site.render(request, "note_form.html", title=title, status=422 if problem else 200, **shown)


def _words(site: Site, subject: str) -> dict[str, Any]:
    """Return the context of every page with notes: addresses, the longest text, the subjects of the form."""
    claims = site.results.register().values()
    subjects = {"": "The paper"} | {claim.id: f"{claim.id}. {claim.title}" for claim in claims}
    subjects.setdefault(subject, subject)  # of a claim that has left the register
    return {"address": _address, "subjects": subjects, "max_text": MAX_TEXT}


def _subject(site: Site, given: str, known: Iterable[str] = ()) -> str:
    """Return a subject of notes: empty for the paper, else the id of a claim; upper and lower case are the same.

    The ``known`` subjects are good although the register does not have them any more.
    """
    if not given or given in known:
        return given
    claims = {name.upper(): name for name in site.results.register()}
    if given.upper() not in claims:
        raise NotFoundError(f"There is no claim {given[:20]!r} to write about; there are {', '.join(claims.values())}.")
    return claims[given.upper()]


def _address(subject: str | None = None, note_id: int | None = None) -> str:
    """Return the address of the notes, or of those on a subject, to be scrolled to one of them."""
    query = "" if subject is None else f"?{urlencode({'subject': subject})}"
    return f"/discussion{query}{f'#note-{note_id}' if note_id else ''}"


def _markdown(note: Note) -> str:
    subject, edited = note.subject or "the paper", f", changed {note.edited}" if note.edited else ""
    by = f" by {note.author}" if note.author else ""
    return f"<!-- note {note.id} on {subject}{by}, {note.created}{edited} -->\n\n{note.text}\n"


def _export(site: Site) -> Iterable[str]:
    yield from ("/api/notes", "/api/notes.md")
    with contextlib.suppress(StoreError):  # the page says so
        yield from map(_address, site.notes.counts())


PAGE = Page(title="Discussion", path="/discussion", routes=_routes, export=_export)
