"""Saved reports: those in the chosen folder and those a reader has sent; read as data only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnlens.web.library import Library

if TYPE_CHECKING:
    from bnlens.measure import Report

__all__ = ["MAX_BYTES", "ReportLibrary"]

MAX_BYTES = 4 * 2**20


class ReportLibrary(Library["Report"]):
    """Reports by name."""

    kind = "a bnlens report"
    advice = "write one with Report.to_json"
    max_bytes = MAX_BYTES

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
