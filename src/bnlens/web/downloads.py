"""Files that a browser saves, and works to cite among them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal, TypeAlias

from starlette.responses import Response

from bnlens.paper import Citation

__all__ = ["CITATION_FORMATS", "CitationFormat", "attachment", "citation_response", "versioned"]


CitationFormat: TypeAlias = Literal["ris", "endnote", "bibtex", "csl", "text"]
CITATION_FORMATS: Mapping[CitationFormat, tuple[str, str, str]] = {
    "ris": ("RIS", "ris", "application/x-research-info-systems"),
    "endnote": ("EndNote", "enw", "application/x-endnote-refer"),
    "bibtex": ("BibTeX", "bib", "application/x-bibtex"),
    "csl": ("CSL-JSON", "json", "application/vnd.citationstyles.csl+json"),
    "text": ("Text", "txt", "text/plain"),
}
"""Name, ending of the file and media type of each format, in the order of the page."""


def attachment(text: str, filename: str, media_type: str = "text/csv") -> Response:
    """Return a text as a file that a browser saves, under a name that differs where the content does."""
    stem, _, ending = filename.rpartition(".")
    return _saved(text, f"{versioned(stem, text)}.{ending}", media_type)


def _saved(text: str, filename: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(text, media_type=f"{media_type}; charset=utf-8", headers=headers)


def versioned(stem: str, text: str) -> str:
    """Return the stem of a file's name with six digits of its content's hash."""
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def citation_response(citation: Citation, form: CitationFormat, stem: str) -> Response:
    """Return works as a file named ``stem`` that a browser saves."""
    _, ending, media_type = CITATION_FORMATS[form]
    return _saved(citation.to_format(form), f"{stem}.{ending}", media_type)
