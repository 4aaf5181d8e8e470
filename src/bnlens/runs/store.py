"""The results file of a run folder: one SQLite database, written by one run at a time, never left half written."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from bnlens._files import make_folder
from bnlens._sqlite import Database
from bnlens.errors import StoreError

__all__ = ["SCHEMA_VERSION", "Record", "Store", "read_records", "remove_records", "run_lock"]

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE jobs (
    key TEXT PRIMARY KEY,
    claim TEXT NOT NULL,
    job TEXT NOT NULL,
    function TEXT NOT NULL,
    config TEXT NOT NULL,
    code TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    result TEXT,
    error TEXT,
    traceback TEXT,
    seconds REAL NOT NULL,
    started TEXT NOT NULL,
    finished TEXT NOT NULL,
    versions TEXT NOT NULL
)
"""
_JSON = ("config", "result", "versions")


@dataclass(frozen=True)
class Record:
    """One finished job.

    Attributes:
        key: content key of the job.
        claim: id of the claim that computed it; others may share it.
        job: its name within that claim.
        function: ``module:qualified name`` of what computed it.
        config: the keyword arguments, JSON data.
        code: hash of the source that computed it.
        status: ``"done"`` or ``"failed"``; a failed job is computed again by the next run.
        seconds: wall-clock time of the computation.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
        result: what the function returned; None if it failed.
        error: one sentence if it failed.
        traceback: where it failed, for developers.
        versions: package name to version at the time.
    """

    key: str
    claim: str
    job: str
    function: str
    config: Mapping[str, Any]
    code: str
    status: Literal["done", "failed"]
    seconds: float
    started: str
    finished: str
    result: dict[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


class Store:
    """The results of all jobs of a run folder, open for reading and writing; a context manager.

    Each `put` is one transaction: after a crash the file holds every result that was put and no part of another. A
    second process may read while a run writes (WAL).

    Args:
        path: the database; it and its folder are created if absent.

    Raises:
        StoreError: the folder cannot be written, the file is damaged, is not a results file, or comes from a newer
            bnlens. Nothing has been changed then.
    """

    def __init__(self, path: Path) -> None:
        self._database = _database(path)
        self._connection = self._database.open()

    def get(self, key: str) -> Record | None:
        """Return the record stored under ``key``, or None."""
        with self._database.errors():
            row = self._connection.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
            return None if row is None else _record(row)

    def put(self, record: Record) -> None:
        """Store ``record`` under its key, in place of an earlier one, and return when it is on disk."""
        row = {name: getattr(record, name) for name in Record.__dataclass_fields__}
        for name in _JSON:
            row[name] = None if row[name] is None else json.dumps(_plain(row[name]))
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        with self._database.errors():
            self._connection.execute(f"INSERT OR REPLACE INTO jobs ({names}) VALUES ({marks})", row)  # noqa: S608

    def records(self) -> list[Record]:
        """Return all records in the order in which they were stored."""
        with self._database.errors():
            return [_record(row) for row in self._connection.execute("SELECT * FROM jobs ORDER BY rowid")]

    def remove(self, keys: Sequence[str]) -> None:
        """Remove the records under these keys, all or none."""
        with self._database.errors():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM jobs WHERE key = ?", [(key,) for key in keys])
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: Path) -> list[Record]:
    """Return all records of a results file in the order in which they were stored, and change nothing.

    It may be called while a run writes, and on a folder that cannot be written. Without a file there are no records.

    Raises:
        StoreError: the file cannot be read, is damaged, is not a results file, or comes from a newer bnlens.
    """
    if not path.exists():
        return []
    database = _database(path)
    with contextlib.closing(database.open_for_reading()) as connection, database.errors("read"):
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'jobs'").fetchone()[0]:
            return []
        return [_record(row) for row in connection.execute("SELECT * FROM jobs ORDER BY rowid")]


def remove_records(path: Path, keys: Sequence[str]) -> None:
    """Remove records from the results file of a run folder.

    Raises:
        StoreError: a run writes to the folder, or the file cannot be written.
    """
    with run_lock(path.parent), Store(path) as store:
        store.remove(keys)


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; the lock ends with the process, however it ends.

    Raises:
        StoreError: another run holds it, or the folder cannot be written.
    """
    make_folder(folder)
    path = folder / "runs.lock"
    connection: sqlite3.Connection | None = None
    try:
        try:
            # An exclusive transaction on an empty database: a file lock that works on every system.
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise StoreError(
                    f"another run is writing to {folder}; wait until it ends or choose another output folder"
                ) from error
            raise StoreError(f"cannot write {path}: {error}; choose a writable folder") from error
        yield
    finally:
        if connection is not None:
            connection.close()


def _database(path: Path) -> Database:
    return Database(Path(path), _SCHEMA, SCHEMA_VERSION, "choose another output folder", "run again")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _record(row: sqlite3.Row) -> Record:
    values = dict(row)
    for name in _JSON:
        values[name] = None if values[name] is None else json.loads(values[name])
    return Record(**values)
