"""CIFAR-10 as its authors publish it: pickled batches, read without running what a pickle may call."""

from __future__ import annotations

import io
import pickle  # only below, behind an unpickler that knows only arrays
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.errors import DataError
from bnlens.train.data.source import CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD, Source, Split, check_labels

__all__ = ["find_pickles", "read_pickles"]

_FILES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
_ROW = 3 * 32 * 32


def find_pickles(folder: Path) -> Path | None:
    """Return where the batches lie, the folder itself or its ``cifar-10-batches-py``, or None."""
    for place in (folder, folder / "cifar-10-batches-py"):
        if any((place / file).is_file() for files in _FILES.values() for file in files):
            return place
    return None


def read_pickles(folder: Path, split: Split) -> Source:
    """Read CIFAR-10 from ``data_batch_1`` to ``data_batch_5`` and ``test_batch``.

    Raises:
        DataError: a batch is missing, corrupt, holds anything but NumPy arrays, dicts, lists, bytes, strings and
            numbers, or has a label outside the ten classes.
    """
    parts = [_read_batch(folder / file) for file in _FILES[split]]
    pixels = np.concatenate([part for part, _ in parts])  # uint8, (P, 3, 32, 32)

    def read(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return pixels[indices].astype(np.float32) / np.float32(255)

    labels = np.concatenate([labels for _, labels in parts])
    return Source("CIFAR-10", CIFAR10_CLASSES, labels, read, CIFAR10_MEAN, CIFAR10_STD)


def _dtype(spec: str | bytes, *_flags: object) -> np.dtype[Any]:
    dtype = np.dtype(spec.decode() if isinstance(spec, bytes) else spec)
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array of Python objects")
    return dtype


# Reducing an array is the public way to functions that NumPy keeps moving: up to pickle protocol 4, and in 5.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy.core.numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names that rebuild a NumPy array; any other global is an error before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ARRAY_PARTS[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise _ForbiddenGlobalError(f"{module}.{name}") from None


class _ForbiddenGlobalError(pickle.UnpicklingError):
    """The pickle names something other than an array's parts."""


def _read_batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = _ArrayUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing; unpack the archive of CIFAR-10 (python version) again") from error
    except _ForbiddenGlobalError as error:
        raise DataError(
            f"{file} refers to {error}, which CIFAR-10 never does and which could run code; use the original file"
        ) from error
    # a damaged pickle can raise nearly anything, from EOFError to MemoryError
    except Exception as error:
        raise DataError(f"{file} is not a readable CIFAR-10 batch; download or copy it again") from error
    entries = {_text(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    data, labels = entries.get("data"), entries.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _ROW:
        raise DataError(f"{file} has no entry 'data' of uint8 rows of {_ROW} pixels; use the original file")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        raise DataError(f"{file} has no entry 'labels' of {len(data)} integers; use the original file")
    return data.reshape(-1, 3, 32, 32), check_labels(np.asarray(labels, np.int64), len(CIFAR10_CLASSES), file)


def _text(key: object) -> object:
    return key.decode("ascii", "replace") if isinstance(key, bytes) else key
