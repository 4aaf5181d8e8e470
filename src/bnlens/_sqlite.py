"""SQLite files: checked before they are touched, shared by processes, every failure one sentence."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnlens._files import make_folder
from bnlens.errors import StoreError

__all__ = ["Database"]

_PAUSE = 0.05  # seconds between tries at a file that another process is creating


@dataclass(frozen=True)
class Database:
    """A file with one schema.

    Attributes:
        path: the file.
        schema: SQL that makes its tables.
        version: of the schema, kept as ``user_version``.
        otherwise: what to do if the file at this place cannot be used, as in "choose another folder".
        again: what to do after that, as in "run again".
        timeout: seconds to wait for another process that writes.
    """

    path: Path
    schema: str
    version: int
    otherwise: str
    again: str
    timeout: float = 10.0

    def open(self) -> sqlite3.Connection:
        """Return a connection that writes; the file and its folder are created if absent.

        A second process may read meanwhile (WAL), and what was committed is on disk.

        Raises:
            StoreError: the folder cannot be written, the file is damaged or locked, is of another program, or comes from a
                newer bnlens. Nothing has been changed then.
        """
        make_folder(self.path.parent)
        with self.errors():
            connection = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def open_for_reading(self) -> sqlite3.Connection:
        """Return a connection that changes nothing, also in a folder that cannot be written; the file must exist.

        Raises:
            StoreError: the file cannot be read, is damaged or locked, or comes from a newer bnlens.
        """
        with self.errors("read"):
            connection = self._connect_for_reading()
            try:
                connection.row_factory = sqlite3.Row
                found = _pragma(connection, "user_version")
                if found > self.version:
                    raise self._newer(found, "update bnlens")
            except BaseException:
                connection.close()
                raise
            return connection

    @contextlib.contextmanager
    def errors(self, verb: str = "write") -> Iterator[None]:
        """Turn what SQLite says into a `StoreError`."""
        try:
            yield
        except sqlite3.OperationalError as error:  # the file cannot be opened, written or grown
            if _is_locked(error):
                fix = "another program holds it; end that, or wait, and try again"
            else:
                fix = "choose a writable folder with room" if verb == "write" else "make it readable"
            raise StoreError(f"cannot {verb} {self.path}: {error}; {fix}") from error
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:  # its content is not what was written
            raise StoreError(
                f"{self.path} is damaged ({error}); move it away, or {self.otherwise}, and {self.again}"
            ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._check(connection)
        if _pragma(connection, "quick_check") != "ok":
            raise sqlite3.DatabaseError("its check fails")
        self._share(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")  # fails here and now if the file cannot be written
        if self._check(connection) == 0:  # another process may have made the tables meanwhile
            connection.execute(self.schema)
        connection.execute(f"PRAGMA user_version = {self.version}")
        connection.execute("COMMIT")

    def _check(self, connection: sqlite3.Connection) -> int:
        # The version comes second: if another process makes our tables meanwhile, they come with theirs.
        tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        found: int = _pragma(connection, "user_version")
        if found > self.version:
            raise self._newer(found, f"update bnlens or {self.otherwise}")
        if found == 0 and tables:
            raise StoreError(f"{self.path} is a database of another program; {self.otherwise}")
        return found

    def _share(self, connection: sqlite3.Connection) -> None:
        """Change to WAL; SQLite does not wait itself where two processes do this at once to a new file."""
        deadline = time.monotonic() + self.timeout
        while not self._is_shared(connection, may_fail=time.monotonic() < deadline):
            time.sleep(_PAUSE)

    def _is_shared(self, connection: sqlite3.Connection, *, may_fail: bool) -> bool:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if may_fail and _is_locked(error):
                return False
            raise
        return True

    def _connect_for_reading(self) -> sqlite3.Connection:
        address = self.path.absolute().as_uri()
        connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=self.timeout, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            connection.close()
            if _is_locked(error):
                raise
            # The file's companion for shared reading cannot be made in a folder that cannot be written; nobody writes then.
            return sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
        except BaseException:
            connection.close()
            raise
        return connection

    def _newer(self, found: int, fix: str) -> StoreError:
        return StoreError(
            f"{self.path} was written by a newer bnlens (schema {found}, this one reads {self.version}); {fix}"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error)
