"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from bnlens.errors import StoreError

__all__ = ["check_writable", "make_folder", "write_atomic"]


def make_folder(folder: Path) -> None:
    """Create a folder, with those it lies in, unless it exists.

    Raises:
        StoreError: it cannot be created, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"cannot write to {folder}: it is a file or lies in one; choose a writable folder") from error
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}; choose a writable folder") from error


def write_atomic(path: str | os.PathLike[str], data: str | bytes) -> Path:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new one, never a part.

    The bytes go to a temporary file in the same folder, are flushed to disk, and replace ``path`` in one step. A device or a
    pipe, such as ``/dev/stdout``, is written as it is.

    Args:
        path: target; missing parent folders are created.
        data: text (written as UTF-8) or bytes.

    Returns:
        The path written.

    Raises:
        StoreError: the folder cannot be created or written.
    """
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    temporary: str | None = None
    make_folder(path.parent)
    try:
        if _is_device(path):
            path.write_bytes(payload)
            return path
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp is private; a result is as readable as any file
        Path(temporary).replace(path)
    except IsADirectoryError as error:
        raise StoreError(f"cannot write {path}: it is a folder; give a file name") from error
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; choose a writable folder") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out whether ``write_atomic(path, ...)`` could work, before long work is done for it; creates nothing.

    Raises:
        StoreError: the folder cannot be created or written, or ``path`` is a folder.
    """
    path = Path(path)
    place = path
    try:
        if path.is_dir():
            raise StoreError(f"cannot write {path}: it is a folder; give a file name")
        if _is_device(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        place = next(folder for folder in path.absolute().parents if folder.exists())  # where folders would be created
        with tempfile.TemporaryFile(prefix=path.name, dir=place):  # a name that is too long fails here
            pass
    except NotADirectoryError as error:
        raise StoreError(f"cannot write {path}: {place} is a file; choose a writable folder") from error
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; choose a writable folder") from error


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()
