"""Saved reports: those in the chosen folder and those a reader has sent; read as data only."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from bnlens.errors import StoreError
from bnlens.web.labs import NotFoundError

if TYPE_CHECKING:
    from bnlens.measure import Report

__all__ = ["MAX_BYTES", "ReportLibrary"]

MAX_BYTES = 4 * 2**20
_MOST_FILES = 200
_MOST_SENT = 16
_MOST_PARSED = 16
_HEAD = 512
_MARK = b'"kind": "bnlens report"'
_SENT = "sent-"


class ReportLibrary:
    """Reports by name: the path below the folder, or ``sent-`` and a hash for what was sent and lives as long as the server.

    Only names that `names` lists can be opened, so nothing outside the folder can.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._parsed: OrderedDict[Hashable, Report] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> dict[str, str]:
        """Return what can be opened, newest first, with labels."""
        with self._lock:
            sent = {name: f"{label} (sent)" for name, (label, _) in reversed(self._sent.items())}
        return sent | {name: name for name in self._files()}

    def stamp(self, name: str) -> Hashable:
        """Return what changes when the report of that name does."""
        if name in self._sent:
            return name
        path = self._files().get(name)
        if path is None:
            return None
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def load(self, name: str) -> Report:
        """Return a report.

        Raises:
            NotFoundError: there is none of that name.
            StoreError: the file cannot be read or is no report.
        """
        from bnlens.measure import Report

        key = (name, self.stamp(name))
        with self._lock:
            if key in self._parsed:
                self._parsed.move_to_end(key)
                return self._parsed[key]
        report = Report.loads(self.text(name), name=name)
        with self._lock:
            self._parsed[key] = report
            while len(self._parsed) > _MOST_PARSED:
                self._parsed.popitem(last=False)
        return report

    def text(self, name: str) -> str:
        """Return a report's JSON.

        Raises:
            NotFoundError: there is none of that name.
            StoreError: the file cannot be read.
        """
        with self._lock:
            if name in self._sent:
                return self._sent[name][1].decode()
        path = self._files().get(name)
        if path is None:
            raise NotFoundError(f"There is no report {name[:100]!r} in {self._folder}: choose one from the list.")
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot read {name}: {error.strerror or error}") from error
        except ValueError as error:
            raise StoreError(f"{name} is not a bnlens report (no valid JSON)") from error

    def add(self, content: bytes, label: str) -> str:
        """Keep a report that a reader sent, in memory, and return its name.

        Raises:
            StoreError: it is too large or no report.
        """
        from bnlens.measure import Report

        if len(content) > MAX_BYTES:
            raise StoreError(f"the file is larger than {MAX_BYTES // 2**20} MiB; a report is smaller")
        try:
            text = content.decode()
        except ValueError as error:
            raise StoreError(
                "the file is not a bnlens report (no valid JSON); write one with Report.to_json"
            ) from error
        Report.loads(text, name="the file")
        name = f"{_SENT}{hashlib.sha256(content).hexdigest()[:12]}"
        with self._lock:
            self._sent[name] = (Path(label.replace("\\", "/")).name[:80] or "report", content)
            while len(self._sent) > _MOST_SENT:
                self._sent.popitem(last=False)
        return name

    def _files(self) -> dict[str, Path]:
        """The reports in the folder by name, newest first; links that lead outside are none."""
        found: list[tuple[float, str, Path]] = []
        try:
            root = self._folder.resolve()
            for path in sorted(root.rglob("*.json")):
                if self._is_report(path, root):
                    found.append((path.stat().st_mtime, path.relative_to(root).as_posix(), path))
                    if len(found) == _MOST_FILES:
                        break
        except OSError:
            return {}
        return {name: path for _, name, path in sorted(found, key=lambda entry: (-entry[0], entry[1]))}

    @staticmethod
    def _is_report(path: Path, root: Path) -> bool:
        try:
            if not path.is_file() or not path.resolve().is_relative_to(root) or path.stat().st_size > MAX_BYTES:
                return False
            with path.open("rb") as file:
                return _MARK in file.read(_HEAD)
        except OSError:
            return False
