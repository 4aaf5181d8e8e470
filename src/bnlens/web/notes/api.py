"""The JSON API of the local notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi import Path as ApiPath
from pydantic import BaseModel, ConfigDict, Field

from bnlens.web.api import BODY, FORBIDDEN, INVALID, BoundedRoute, errors
from bnlens.web.errors import NotFoundError
from bnlens.web.notes.store import MAX_AUTHOR, MAX_ID, MAX_TEXT, Draft, Note
from bnlens.web.site import Site

__all__ = ["NoteId", "discussion_page", "find_subject", "router"]

_MISSING = {**errors({404: "There is no such note or subject."}), **INVALID}
_CHANGED = errors({409: "The note has another version by now."})
NoteId = Annotated[int, ApiPath(ge=1, le=MAX_ID, description="Id of a note.")]


class NewNote(BaseModel):
    """A note to be written."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=MAX_TEXT, description="Markdown; formulas stand between dollar signs.")
    author: str = Field("", max_length=MAX_AUTHOR, description="A name, if one is to be shown.")
    subject: str = Field("", max_length=20, description="Id of a claim, such as D1; empty for the paper.")

    def draft(self, subject: str) -> Draft:
        """Return it as it is stored, with a subject that was found."""
        return Draft(self.text, self.author, subject)


class ChangedNote(NewNote):
    """A note in place of another."""

    version: int = Field(ge=1, le=MAX_ID, description="That of the note as it was read; if it has another, 409.")


class NoteEntry(Note):
    """A note with the address that shows it."""

    page: str


def discussion_page(subject: str | None = None, *, before: int | None = None, note: int | None = None) -> str:
    """Return the address of the notes, of those on a subject or ``before`` an id alone, to be scrolled to one note."""
    query = {name: value for name, value in (("subject", subject), ("before", before)) if value is not None}
    return "/discussion" + (f"?{urlencode(query)}" if query else "") + (f"#note-{note}" if note else "")


def find_subject(site: Site, given: str, known: Iterable[str] = ()) -> str:
    """Return a subject of notes: empty for the paper, else the id of a claim; upper and lower case are the same.

    The ``known`` subjects are good although the register does not have them any more.

    Raises:
        NotFoundError: there is none of that id.
    """
    if not given or given in known:
        return given
    claims = {name.upper(): name for name in site.results.register()}
    if given.upper() not in claims:
        raise NotFoundError(f"There is no claim {given[:20]!r} to write about; there are {', '.join(claims.values())}.")
    return claims[given.upper()]


def router(site: Site) -> APIRouter:
    """Return the routes for notes."""
    routes = APIRouter(prefix="/api/notes", tags=["notes"], route_class=BoundedRoute)

    @routes.get("", summary="The notes, newest last", responses=_MISSING)
    def notes(
        subject: Annotated[
            str | None, Query(max_length=20, description="Id of a claim, empty for the paper; without it, all notes.")
        ] = None,
        before: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only notes with a smaller id.")] = None,
        limit: Annotated[int | None, Query(ge=1, le=1000, description="The newest so many of them.")] = None,
    ) -> list[NoteEntry]:
        found = None if subject is None else find_subject(site, subject, site.notes.counts())
        return [_entry(note) for note in site.notes.all(found, before=before or MAX_ID + 1, limit=limit or -1)]

    @routes.post("", summary="Write a note", status_code=201, responses={**BODY, **_MISSING, **FORBIDDEN})
    def add(new: NewNote) -> NoteEntry:
        return _entry(site.notes.add(new.draft(find_subject(site, new.subject))))

    @routes.get("/{note_id}", summary="One note", responses=_MISSING)
    def note(note_id: NoteId) -> NoteEntry:
        return _entry(site.notes.get(note_id))

    @routes.put("/{note_id}", summary="Change a note", responses={**BODY, **_MISSING, **FORBIDDEN, **_CHANGED})
    def change(note_id: NoteId, changed: ChangedNote) -> NoteEntry:
        subject = find_subject(site, changed.subject, [site.notes.get(note_id).subject])
        return _entry(site.notes.change(note_id, changed.version, changed.draft(subject)))

    @routes.delete(
        "/{note_id}",
        summary="Delete a note",
        description="The answer is the note as it was.",
        responses={**_MISSING, **FORBIDDEN, **_CHANGED},
    )
    def remove(
        note_id: NoteId,
        version: Annotated[
            int | None, Query(ge=1, le=MAX_ID, description="If the note has another by now, 409; without it, any.")
        ] = None,
    ) -> NoteEntry:
        return _entry(site.notes.remove(note_id, version))

    return routes


def _entry(note: Note) -> NoteEntry:
    return NoteEntry(**dict(note), page=discussion_page(note.subject, before=note.id + 1, note=note.id))
