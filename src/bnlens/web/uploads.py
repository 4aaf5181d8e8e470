"""Files that a reader sends by a form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bnlens.errors import UsageError
from bnlens.web.library import Library
from bnlens.web.security import check_length

__all__ = ["add_sending"]

_ENVELOPE = 8192  # what a form adds to its file


def add_sending(routes: APIRouter, path: str, library: Library[Any], page: Callable[[str], str]) -> None:
    """Add a route that takes the file of a form's field ``file``, keeps it in a library and leads to its page.

    Args:
        routes: where to add it.
        path: address that the form is posted to.
        library: keeps the file in memory and says how large it may be.
        page: from its name in the library to the address that shows it.
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
