"""Output of commands: checked before the work, kept when it cannot be written after it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bnlens._files import check_writable, write_atomic
from bnlens.errors import BnlensError, StoreError, UsageError

__all__ = ["cannot_write", "check_outputs", "kept_beside"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None] | None = None) -> None:
    """Raise before the work where a file could not be written, or would overwrite another of the same command.

    Args:
        outputs: by option.
        inputs: by option; files that are read.

    Raises:
        UsageError: two options name one file.
        StoreError: a file cannot be written.
    """
    seen: dict[str, str] = {os.path.realpath(path): flag for flag, path in (inputs or {}).items() if path is not None}
    for flag, path in outputs.items():
        if path is None:
            continue
        check_writable(path)
        place = os.path.realpath(path)
        if place in seen and (path.is_file() or not path.exists()):
            raise UsageError(f"{seen[place]} and {flag} name one file, {path}; give two")
        seen[place] = flag


def cannot_write(error: OSError) -> str:
    """Return the first part of the sentence for an error of standard output; raise any other error, a closed pipe too."""
    if error.filename is not None or error.errno not in _FULL:
        raise error
    _abandon_output()
    return f"cannot write to standard output: {error.strerror}"


def _abandon_output() -> None:
    """Let what standard output still holds vanish, so that the end of the process does not try to write it again."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def kept_beside(text: Callable[[], str], name: str, ending: str) -> Iterator[None]:
    """Keep the outcome of long work in a new file where what is written in the context cannot be.

    Args:
        text: returns the content of that file.
        name: of the outcome, in its name and in the error.
        ending: of its name.

    Raises:
        StoreError: an output could not be written; the message has the place of the file.
    """
    try:
        yield
    except (BnlensError, OSError) as error:
        reason = str(error).partition(";")[0] if isinstance(error, BnlensError) else cannot_write(error)
        raise StoreError(f"{reason}; the {name} is saved in {_kept(text(), f'bnlens-{name}-', ending)}") from error


def _kept(text: str, prefix: str, ending: str) -> Path:
    """Write a file of a new name here, or where temporary files go."""
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError, StoreError):
            handle, path = tempfile.mkstemp(ending, prefix, folder)
            os.close(handle)
            return write_atomic(path, text)
    raise StoreError("no folder can be written, the current one included; free some space")
