"""The local notes: written, changed and deleted by forms that need no script, and that lose nothing that was typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import BnlensError, StoreError
from bnlens.web.errors import NotFoundError
from bnlens.web.notes.api import NoteId, discussion_page, find_subject
from bnlens.web.notes.store import MAX_AUTHOR, MAX_ID, MAX_TEXT, ConflictError, Draft, Note
from bnlens.web.security import MAX_BODY, check_length
from bnlens.web.site import Page, Site

__all__ = ["PAGE"]

_SUMMARY = "Your notes on the paper and its claims, in Markdown with formulas; they stay on this machine."

_SHOWN = 50
_FIELDS = ("text", "author", "subject", "version")


async def _sent(request: Request) -> dict[str, str]:
    check_length(request, MAX_BODY, f"The form is larger than {MAX_BODY // 2**10} KiB: shorten the note.")
    async with request.form(max_files=0, max_fields=2 * len(_FIELDS)) as form:
        return {name: value if isinstance(value := form.get(name), str) else "" for name in _FIELDS}


_Sent = Annotated[dict[str, str], Depends(_sent)]


def _routes(site: Site) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/discussion")
    def discussion(
        request: Request, subject: str | None = None, before: Annotated[int, Query(ge=1, le=MAX_ID + 1)] = MAX_ID + 1
    ) -> Response:
        return _list(site, request, subject, before)

    @routes.post("/discussion")
    def add(request: Request, sent: _Sent) -> Response:
        draft, problems = _looked_at(site, _draft(sent))
        problem = ""
        try:
            if not problems:
                return RedirectResponse(_place(site, site.notes.add(draft)), 303)
        except BnlensError as error:
            problem = str(error)
        return _form(site, request, draft, 422, problems=problems, problem=problem)

    @routes.get("/discussion/{note_id}/edit")
    def edit(note_id: NoteId, request: Request) -> Response:
        note = site.notes.get(note_id)
        draft = Draft(note.text, note.author, note.subject)
        return _form(site, request, draft, note_id=note_id, note_version=note.version)

    @routes.post("/discussion/{note_id}/edit")
    def change(note_id: NoteId, request: Request, sent: _Sent) -> Response:
        draft, version, status = _draft(sent), _version(sent), 422
        shown: dict[str, Any] = {}
        try:
            draft, problems = _looked_at(site, draft, [site.notes.get(note_id).subject])
            if not problems:
                return RedirectResponse(_place(site, site.notes.change(note_id, version, draft)), 303)
            shown["problems"] = problems
        except NotFoundError:
            problem = f"Note {note_id} was deleted meanwhile: send your text again to keep it as a new note."
            return _form(site, request, draft, 409, problem=problem)
        except ConflictError as error:
            problem = (
                "Someone has changed this note meanwhile: join the two texts, or send yours again to replace theirs."
            )
            shown, status, version = {"problem": problem, "theirs": error.note}, 409, error.note.version
        except BnlensError as error:
            shown["problem"] = str(error)
        return _form(site, request, draft, status, note_id=note_id, note_version=version, **shown)

    @routes.get("/discussion/{note_id}/delete")
    def confirm(note_id: NoteId, request: Request) -> Response:
        return _confirm(site, request, site.notes.get(note_id))

    @routes.post("/discussion/{note_id}/delete")
    def delete(note_id: NoteId, request: Request, sent: _Sent) -> Response:
        try:
            note = site.notes.remove(note_id, _version(sent))
        except ConflictError as error:
            problem = "Someone has changed this note meanwhile: read it again before you delete it."
            return _confirm(site, request, error.note, problem, 409)
        return RedirectResponse(discussion_page(note.subject), 303)

    return routes


def _list(site: Site, request: Request, subject: str | None, before: int) -> Response:
    problem, notes, counts = "", [], {}
    try:
        counts = site.notes.counts()
    except StoreError as error:
        problem = str(error)
    if subject is not None:
        subject = find_subject(site, subject, counts)
    if not problem:
        try:
            notes = site.notes.all(subject, before=before, limit=-1 if site.static else _SHOWN + 1)
        except StoreError as error:
            problem = str(error)
    is_cut = not site.static and len(notes) > _SHOWN
    notes = notes[1:] if is_cut else notes
    where = "" if site.static else " They stay on this machine, in notes.sqlite of the served folder."
    return site.render(
        request,
        "discussion.html",
        title="Discussion",
        description=f"Notes on the paper and its claims.{where}",
        notes=notes,
        counts=counts,
        subject=subject,
        problem=problem,
        earlier=discussion_page(subject, before=notes[0].id) if is_cut else None,
        newest=discussion_page(subject) if before <= MAX_ID else None,
        draft=Draft("", subject=subject or ""),
        problems={},
        **_words(site, subject or ""),
    )


def _form(
    site: Site, request: Request, draft: Draft, status: int = 200, *, note_id: int | None = None, **shown: Any
) -> Response:
    """Return the form alone: to change a version of a note, or to write one; ``theirs`` is the note as changed meanwhile."""
    title = f"Change note {note_id}" if note_id else "Write a note"
    shown = {"note_version": 0, "theirs": None, "problems": {}, **shown, **_words(site, draft.subject)}
    return site.render(request, "note_form.html", title=title, status=status, note_id=note_id, draft=draft, **shown)


def _confirm(site: Site, request: Request, note: Note, problem: str = "", status: int = 200) -> Response:
    shown = {"note": note, "problem": problem, **_words(site, note.subject)}
    return site.render(request, "note_delete.html", title=f"Delete note {note.id}?", status=status, **shown)


def _words(site: Site, subject: str) -> dict[str, Any]:
    """Return the context of every page with notes: addresses, limits, the subjects of the form."""
    claims = site.results.register().values()
    subjects = {"": "The paper"} | {claim.id: f"{claim.id}. {claim.title}" for claim in claims}
    if subject and subject not in subjects:  # of a claim that has left the register
        subjects[subject] = subject
    return {"address": discussion_page, "subjects": subjects, "max_text": MAX_TEXT, "max_author": MAX_AUTHOR}


def _draft(sent: Mapping[str, str]) -> Draft:
    return Draft(sent["text"].replace("\r\n", "\n"), sent["author"], sent["subject"])


def _looked_at(site: Site, draft: Draft, known: Iterable[str] = ()) -> tuple[Draft, dict[str, str]]:
    """Return the draft with its subject as the register spells it, and its problems by field."""
    problems = draft.tidied().problems()
    try:
        draft = replace(draft, subject=find_subject(site, draft.subject, known))
    except NotFoundError as error:
        problems["subject"] = str(error)
    return draft, problems


def _version(sent: Mapping[str, str]) -> int:
    """Return the version that the form was made for; 0, which no note has, if it does not say."""
    text = sent["version"]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _place(site: Site, note: Note) -> str:
    """Return the address that shows a note: the newest notes on its subject, or those up to it."""
    newest = site.notes.all(note.subject, limit=_SHOWN)
    is_among = any(other.id == note.id for other in newest)
    return discussion_page(note.subject, before=None if is_among else note.id + 1, note=note.id)


def _export(site: Site) -> Iterable[str]:
    yield "/api/notes"
    try:
        counts = site.notes.counts()
    except StoreError:  # the page says so
        return
    yield from map(discussion_page, counts)


PAGE = Page(id="discussion", title="Discussion", path="/discussion", summary=_SUMMARY, routes=_routes, export=_export)
