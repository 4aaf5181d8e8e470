"""The local notes: one SQLite file in the served folder, shared by all servers on it; made with the first note."""

from __future__ import annotations

import contextlib
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bnlens._sqlite import Database
from bnlens.errors import BnlensError, UsageError
from bnlens.web.errors import NotFoundError

__all__ = ["MAX_AUTHOR", "MAX_ID", "MAX_TEXT", "SCHEMA_VERSION", "ConflictError", "Draft", "Note", "Notes"]

MAX_TEXT = 20_000
MAX_AUTHOR = 80
MAX_ID = 2**53 - 1  # what every JSON reader keeps exact
SCHEMA_VERSION = 1
_FILE = "notes.sqlite"
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
_WAIT = 5.0  # seconds that a page waits for another process that writes


class ConflictError(BnlensError):
    """Someone has changed the note meanwhile; the status is 409.

    Attributes:
        note: as it is by now.
    """

    status = 409

    def __init__(self, note: Note) -> None:
        super().__init__(f"Someone has changed note {note.id} meanwhile: read it again before you change it.")
        self.note = note


@dataclass(frozen=True)
class Draft:
    """A note that a reader has written, before it is stored.

    Attributes:
        text: Markdown, 1 to `MAX_TEXT` characters once it is `tidied`.
        author: a name of at most `MAX_AUTHOR` characters, or empty.
        subject: id of a claim; empty for the paper.
    """

    text: str
    author: str = ""
    subject: str = ""

    def tidied(self) -> Draft:
        """Return it with plain line ends and without control characters and space around it; the name in one line."""
        text = self.text.replace("\r\n", "\n").replace("\r", "\n")
        author = " ".join("".join(" " if _is_control(mark) else mark for mark in self.author).split())
        text = "".join(mark for mark in text if mark in "\n\t" or not _is_control(mark))
        lines = text.rstrip().split("\n")
        while lines and not lines[0].strip():  # the first line's indent is code in Markdown
            del lines[0]
        return Draft("\n".join(lines), author, self.subject)

    def problems(self) -> dict[str, str]:
        """Return one sentence for each field that cannot be stored; the subject is not looked at."""
        found = {}
        if not self.text.strip():
            found["text"] = "Write something: the note is empty."
        elif len(self.text) > MAX_TEXT:
            found["text"] = f"The note has {len(self.text):,} characters; shorten it to {MAX_TEXT:,}."
        if len(self.author) > MAX_AUTHOR:
            found["author"] = f"The name has {len(self.author):,} characters; shorten it to {MAX_AUTHOR}."
        return found


class Note(BaseModel):
    """A note as it is stored."""

    model_config = ConfigDict(frozen=True)

    id: int = Field(description="Counted from 1; never given twice.")
    subject: str = Field(description="Id of a claim; empty for the paper.")
    author: str = Field(description="A name; empty if none was given.")
    text: str = Field(description="Markdown.")
    created: str = Field(description="ISO 8601, UTC.")
    edited: str | None = Field(description="Likewise; null if it never was.")
    version: int = Field(description="Grows by one with every change.")


class Notes:
    """The notes of a folder. Each call opens the file, so nothing is kept between them and any process may write.

    Every method raises `StoreError` if the file is damaged, locked, of another program or a newer bnlens, or, for those that
    write, cannot be written.
    """

    def __init__(self, folder: Path, *, wait: float = _WAIT) -> None:
        self._path = folder / _FILE
        self._database = Database(
            self._path, _SCHEMA, SCHEMA_VERSION, "choose another folder", "load the page again", wait
        )

    def all(self, subject: str | None = None, *, before: int = MAX_ID + 1, limit: int = -1) -> list[Note]:
        """Return notes, newest last.

        Args:
            subject: only those on this subject.
            before: only those with a smaller id.
            limit: the newest so many of these; all if negative.
        """
        query = "SELECT * FROM notes WHERE id < ? AND (? IS NULL OR subject = ?) ORDER BY id DESC LIMIT ?"
        return [Note(**dict(row)) for row in reversed(self._read(query, before, subject, subject, limit))]

    def counts(self) -> dict[str, int]:
        """Return how many notes there are by subject; subjects without any are left out."""
        rows = self._read("SELECT subject, count(*) AS count FROM notes GROUP BY subject ORDER BY subject")
        return {row["subject"]: row["count"] for row in rows}

    def get(self, note_id: int) -> Note:
        """Return a note.

        Raises:
            NotFoundError: there is none of that id.
        """
        rows = self._read("SELECT * FROM notes WHERE id = ?", note_id)
        return _note(rows[0] if rows else None, note_id)

    def add(self, draft: Draft) -> Note:
        """Store a new note.

        Raises:
            UsageError: the draft has problems.
        """
        draft = _checked(draft)
        with self._writing() as connection:
            values = (draft.subject, draft.author, draft.text, _now())
            query = "INSERT INTO notes (subject, author, text, created, version) VALUES (?, ?, ?, ?, 1)"
            return _find(connection, connection.execute(query, values).lastrowid or 0)

    def change(self, note_id: int, version: int, draft: Draft) -> Note:
        """Put a draft in the place of a note that still has this version.

        Raises:
            UsageError: the draft has problems.
            ConflictError: the note has another version.
            NotFoundError: there is none of that id.
        """
        draft = _checked(draft)
        with self._writing(note_id) as connection:
            _find(connection, note_id, version)
            values = (draft.subject, draft.author, draft.text, _now(), note_id)
            query = "UPDATE notes SET subject = ?, author = ?, text = ?, edited = ?, version = version + 1 WHERE id = ?"
            connection.execute(query, values)
            return _find(connection, note_id)

    def remove(self, note_id: int, version: int | None = None) -> Note:
        """Delete a note, if a version is given only in that one, and return it.

        Raises:
            ConflictError: the note has another version.
            NotFoundError: there is none of that id.
        """
        with self._writing(note_id) as connection:
            note = _find(connection, note_id, version)
            connection.execute("DELETE FROM notes WHERE id = ?", (note_id,))
            return note

    def _read(self, query: str, *values: object) -> Sequence[sqlite3.Row]:
        if not self._path.exists():
            return []
        with contextlib.closing(self._database.open_for_reading()) as connection, self._database.errors("read"):
            if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'notes'").fetchone()[0]:
                return []
            return connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self, note_id: int | None = None) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, which is stored whole or not at all."""
        if note_id is not None:
            self.get(note_id)  # no file is made for a note that is not there
        with contextlib.closing(self._database.open()) as connection, self._database.errors():
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")


def _find(connection: sqlite3.Connection, note_id: int, version: int | None = None) -> Note:
    note = _note(connection.execute("SELECT * FROM notes WHERE id = ?", (note_id,)).fetchone(), note_id)
    if version is not None and note.version != version:
        raise ConflictError(note)
    return note


def _note(row: sqlite3.Row | None, note_id: int) -> Note:
    if row is None:
        raise NotFoundError(f"There is no note {note_id}; it may have been deleted.")
    return Note(**dict(row))


def _checked(draft: Draft) -> Draft:
    draft = draft.tidied()
    problems = draft.problems()
    if problems:
        raise UsageError(" ".join(problems.values()))
    return draft


def _is_control(mark: str) -> bool:
    """Whether a character is a control or half of a surrogate pair, which no file can hold."""
    return unicodedata.category(mark) in ("Cc", "Cs")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
