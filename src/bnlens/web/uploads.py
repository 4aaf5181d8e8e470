"""A file that a reader sends by a form."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.requests import Request

from bnlens.errors import UsageError
from bnlens.web.security import check_length

__all__ = ["sent_file"]

_ENVELOPE = 8192  # what a form adds to its file


async def sent_file(request: Request, max_bytes: int, kind: str) -> tuple[bytes, str]:
    """Return content and name of the file of a form with the field ``file``.

    Raises:
        HTTPException: 413, the request is larger than ``max_bytes`` or does not say how large it is.
        UsageError: there is no file.
    """
    check_length(
        request, max_bytes + _ENVELOPE, f"The file is larger than {max_bytes // 2**20} MiB; {kind} is smaller."
    )
    async with request.form(max_files=1, max_fields=4) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise UsageError("No file was sent: choose one.")
        return await file.read(), file.filename or kind
