"""Files of one kind, such as reports: those in the served folder and those that a form sends; opened by listed names only."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import StoreError, UsageError
from bnlens.web.errors import NotFoundError
from bnlens.web.security import check_length

if TYPE_CHECKING:
    from bnlens.measure import Report

__all__ = ["Library", "ReportLibrary", "add_sending", "file_stamp"]

T = TypeVar("T")
_MOST_FILES = 200
_MOST_SENT = 16
_MOST_OPENED = 16
_HEAD = 512
_SENT = "sent-"
_ENVELOPE = 8192  # what a form adds to its file


def file_stamp(path: Path) -> Hashable:
    """Return time of change and size of a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Library(ABC, Generic[T]):
    """Files by name: the path below the folder, or ``sent-`` and a hash for one that was sent, kept while the server runs.

    Only names that `names` lists can be opened, so nothing outside the folder can.

    Attributes:
        kind: what one of the files is called, with its article.
        advice: how to make one.
        max_bytes: size of the largest file.
        patterns: names of files that may be of this kind.
    """

    kind: str
    advice: str
    max_bytes: int
    patterns: tuple[str, ...] = ("*.json",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: OrderedDict[str, tuple[str, T]] = OrderedDict()
        self._lock = threading.Lock()
        self._opened = lru_cache(_MOST_OPENED)(self._open)

    @abstractmethod
    def has_mark(self, head: bytes) -> bool:
        """Whether a file that begins with these bytes is of this kind."""

    @abstractmethod
    def parse(self, text: str, name: str) -> T:
        """Return the content of a file; raises `BnlensError` if it is damaged."""

    def names(self) -> dict[str, str]:
        """Return the names that can be opened, newest first, with labels."""
        with self._lock:
            sent = {name: f"{label} (sent)" for name, (label, _) in reversed(self._sent.items())}
        return sent | {name: name for name in self._files()}

    def listed(self, page: Callable[[str], str]) -> list[dict[str, str]]:
        """Return the names with labels, each with the address of the page that shows it."""
        return [{"name": name, "label": label, "page": page(name)} for name, label in self.names().items()]

    def stamp(self, name: str) -> Hashable:
        """Return a value that changes when the file of that name does; None if there is none."""
        if name in self._sent:
            return name
        path = self._files().get(name)
        return None if path is None else file_stamp(path)

    def load(self, name: str) -> T:
        """Return the content of a file.

        Raises:
            NotFoundError: there is none of that name.
            StoreError: the file cannot be read.
        """
        with self._lock:
            if name in self._sent:
                return self._sent[name][1]
        path = self._files().get(name)
        if path is None:
            what = self.kind.partition(" ")[2]
            raise NotFoundError(f"There is no {what} {name[:100]!r} in {self._folder}: choose one from the list.")
        return self._opened(name, path, file_stamp(path))

    def add(self, content: bytes, label: str) -> str:
        """Keep a file that a reader sent, in memory, and return its name.

        Raises:
            StoreError: it is too large or not of this kind.
        """
        if len(content) > self.max_bytes:
            raise StoreError(f"the file is larger than {self.max_bytes // 2**20} MiB; {self.kind} is smaller")
        try:
            text = content.decode()
        except ValueError as error:
            raise StoreError(f"the file is not {self.kind} (no valid JSON); {self.advice}") from error
        parsed = self.parse(text, "the file")
        name = f"{_SENT}{hashlib.sha256(content).hexdigest()[:12]}"
        label = Path(label.replace("\\", "/")).name[:80] or self.kind.partition(" ")[2]
        with self._lock:
            self._sent[name] = (label, parsed)
            while len(self._sent) > _MOST_SENT:
                self._sent.popitem(last=False)
        return name

    def _open(self, name: str, path: Path, stamp: Hashable) -> T:
        """Return the content of a file; ``stamp`` is that of what is remembered."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot read {name}: {error.strerror or error}") from error
        except ValueError as error:
            raise StoreError(f"{name} is not {self.kind} (no valid JSON)") from error
        return self.parse(text, name)

    def _files(self) -> dict[str, Path]:
        """Return the files in the folder by name, newest first, without links that lead outside."""
        try:
            root = self._folder.resolve()
            paths = (path for pattern in self.patterns for path in sorted(root.rglob(pattern)))
            ours = islice((path for path in paths if self._is_ours(path, root)), _MOST_FILES)
            found = [(path.stat().st_mtime, path.relative_to(root).as_posix(), path) for path in ours]
        except OSError:
            return {}
        return {name: path for _, name, path in sorted(found, key=lambda entry: (-entry[0], entry[1]))}

    def _is_ours(self, path: Path, root: Path) -> bool:
        try:
            if not path.is_file() or not path.resolve().is_relative_to(root) or path.stat().st_size > self.max_bytes:
                return False
            with path.open("rb") as file:
                return self.has_mark(file.read(_HEAD))
        except OSError:
            return False


def add_sending(routes: APIRouter, path: str, library: Library[Any], page: Callable[[str], str]) -> None:
    """Add a route that takes the file of a form's field ``file``, keeps it in a library and leads to its page.

    ``page`` returns the address that shows a name of the library.
    """

    @routes.post(path)
    async def send(request: Request) -> Response:
        limit = f"{library.max_bytes // 2**20} MiB"
        sentence = f"The file is larger than {limit}; {library.kind} is smaller."
        check_length(request, library.max_bytes + _ENVELOPE, sentence)
        async with request.form(max_files=1, max_fields=4) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise UsageError("No file was sent: choose one.")
            content, label = await file.read(), file.filename or library.kind
        return RedirectResponse(page(await run_in_threadpool(library.add, content, label)), 303)


class ReportLibrary(Library["Report"]):
    """Saved reports by name, read as data only."""

    kind = "a bnlens report"
    advice = "write one with Report.to_json"
    max_bytes = 4 * 2**20

    def has_mark(self, head: bytes) -> bool:
        """Whether it calls itself a report."""
        return b'"kind": "bnlens report"' in head

    def parse(self, text: str, name: str) -> Report:
        """Return the report.

        Raises:
            StoreError: it is damaged.
        """
        from bnlens.measure import Report

        return Report.loads(text, name=name)
