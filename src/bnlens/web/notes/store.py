"""The local notes: one SQLite file in the served folder, made with the first note."""

from __future__ import annotations

import contextlib
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from bnlens._sqlite import Database
from bnlens.errors import UsageError
from bnlens.web.errors import NotFoundError

__all__ = ["MAX_ID", "MAX_TEXT", "Note", "NoteNotFoundError", "Notes", "tidied"]

MAX_TEXT = 20_000
MAX_ID = 2**53 - 1  # what every JSON reader keeps exact
_COLUMNS = "id, subject, author, text, created, edited"
# Authors and versions were those of earlier notes; the columns stay, so that their file needs no change.
_SCHEMA = """
CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL CHECK (typeof(subject) = 'text'),
    author TEXT NOT NULL CHECK (typeof(author) = 'text'),
    text TEXT NOT NULL CHECK (typeof(text) = 'text'),
    created TEXT NOT NULL CHECK (typeof(created) = 'text'),
    edited TEXT CHECK (typeof(edited) IN ('text', 'null')),
    version INTEGER NOT NULL CHECK (typeof(version) = 'integer')
)
"""


@dataclass(frozen=True)
class Note:
    """A note.

    Attributes:
        id: counted from 1; never given twice.
        subject: id of a claim; empty for the paper.
        author: a name that an earlier bnlens asked for; empty now.
        text: Markdown.
        created: in ISO 8601, UTC.
        edited: likewise; None if it never was.
    """

    id: int
    subject: str
    author: str
    text: str
    created: str
    edited: str | None


class NoteNotFoundError(NotFoundError):
    """There is no note of that id."""


class Notes:
    """The notes of a folder. Each call opens the file, so any process may write.

    Every method raises `StoreError` if the file is damaged, locked, of another program or a newer bnlens, or, for those that
    write, cannot be written; those that take an id raise `NoteNotFoundError` if there is no such note.
    """

    def __init__(self, folder: Path, *, wait: float = 5.0) -> None:
        self._path = folder / "notes.sqlite"
        self._database = Database(self._path, _SCHEMA, 1, "choose another folder", "load the page again", wait)

    def all(self, subject: str | None = None) -> list[Note]:
        """Return the notes, or those on a subject, newest last."""
        query = f"SELECT {_COLUMNS} FROM notes WHERE ? IS NULL OR subject = ? ORDER BY id"  # noqa: S608 - our own names
        return [Note(*row) for row in self._read(query, subject, subject)]

    def counts(self) -> dict[str, int]:
        """Return how many notes there are by subject; subjects without any are left out."""
        rows = self._read("SELECT subject, count(*) FROM notes GROUP BY subject ORDER BY subject")
        return dict(map(tuple, rows))

    def get(self, note_id: int) -> Note:
        """Return a note."""
        for row in self._read(f"SELECT {_COLUMNS} FROM notes WHERE id = ?", note_id):  # noqa: S608 - our own names
            return Note(*row)
        raise NoteNotFoundError(f"There is no note {note_id}; it may have been deleted.")

    def add(self, text: str, subject: str = "") -> Note:
        """Store a new note; raises UsageError if its text is empty or longer than `MAX_TEXT` characters."""
        query = "INSERT INTO notes (subject, author, text, created, version) VALUES (?, '', ?, ?, 1)"
        return self.get(self._write(query, subject, _checked(text), _now()))

    def change(self, note_id: int, text: str, subject: str = "") -> Note:
        """Put a text into the place of a note's; raises as `add` does."""
        text = _checked(text)
        self.get(note_id)  # no file is made for a note that is not there
        self._write("UPDATE notes SET subject = ?, text = ?, edited = ? WHERE id = ?", subject, text, _now(), note_id)
        return self.get(note_id)

    def remove(self, note_id: int) -> Note:
        """Delete a note, and return it."""
        note = self.get(note_id)
        self._write("DELETE FROM notes WHERE id = ?", note_id)
        return note

    def _read(self, query: str, *values: object) -> Sequence[sqlite3.Row]:
        if not self._path.exists():
            return []
        with contextlib.closing(self._database.open_for_reading()) as connection, self._database.errors("read"):
            if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'notes'").fetchone()[0]:
                return []
            return connection.execute(query, values).fetchall()

    def _write(self, query: str, *values: object) -> int:
        with contextlib.closing(self._database.open()) as connection, self._database.errors():
            return connection.execute(query, values).lastrowid or 0


def tidied(text: str) -> str:
    """Return a text with plain line ends, without control characters, halves of characters and space around it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(mark for mark in text if mark in "\n\t" or unicodedata.category(mark) not in ("Cc", "Cs"))
    lines = text.rstrip().split("\n")
    while lines and not lines[0].strip():  # the first line's indent is code in Markdown
        del lines[0]
    return "\n".join(lines)


def _checked(text: str) -> str:
    text = tidied(text)
    if not text:
        raise UsageError("Write something: the note is empty.")
    if len(text) > MAX_TEXT:
        raise UsageError(f"The note has {len(text):,} characters; shorten it to {MAX_TEXT:,}.")
    return text


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
