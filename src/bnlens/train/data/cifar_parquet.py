"""CIFAR-10 as parquet files, the layout of the ``datasets`` library."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.errors import DataError
from bnlens.train._optional import require
from bnlens.train.data.encoded import decode_images
from bnlens.train.data.source import CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD, Source, Split, check_labels

__all__ = ["find_parquet", "read_parquet"]

_IMAGE_COLUMNS = ("img", "image")
_JPEG_MAGIC = b"\xff\xd8"


def find_parquet(folder: Path, split: Split) -> list[Path]:
    """Return the parquet files of a split: ``SPLIT.parquet`` or ``SPLIT-00000-of-00001*.parquet``.

    They may lie in the folder itself or in its ``data`` or ``plain_text``; an empty list means there is none.
    """
    for place in (folder, folder / "data", folder / "plain_text"):
        files = sorted([*place.glob(f"{split}.parquet"), *place.glob(f"{split}-*.parquet")])
        if files:
            return files
    return []


def read_parquet(folder: Path, split: Split) -> Source:
    """Read CIFAR-10 from parquet: columns ``img`` (or ``image``), a struct with encoded ``bytes``, and ``label``.

    The name is "CIFAR-10 (JPEG)" where the images were encoded with loss.

    Raises:
        DataError: the split or a column is missing, a file is corrupt, a label lies outside the ten classes, an image
            is not 32x32, or pyarrow or pillow is not installed.
    """
    files = find_parquet(folder, split)
    if not files:
        raise DataError(f"{folder} has no {split}*.parquet; put the file of the {split} split there")
    parts = [_read_file(file) for file in files]
    names = [f"{file}, row {row}" for file, (part, _) in zip(files, parts, strict=True) for row in range(len(part))]
    encoded: list[bytes] = [image for part, _ in parts for image in part]

    def read(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return decode_images(((names[i], io.BytesIO(encoded[i])) for i in indices), mode="RGB", size=(32, 32))

    name = "CIFAR-10 (JPEG)" if encoded[0].startswith(_JPEG_MAGIC) else "CIFAR-10"
    labels = np.concatenate([labels for _, labels in parts])
    return Source(name, CIFAR10_CLASSES, labels, read, CIFAR10_MEAN, CIFAR10_STD)


def _read_file(file: Path) -> tuple[list[bytes], NDArray[np.int64]]:
    parquet = require("pyarrow.parquet", f"reading {file}")
    arrow = require("pyarrow", f"reading {file}")
    try:
        table = parquet.read_table(file)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a readable parquet file; download or copy it again") from error
    columns = table.column_names
    image = next((name for name in _IMAGE_COLUMNS if name in columns), None)
    if image is None or "label" not in columns:
        raise DataError(f"{file} has the columns {', '.join(columns)}; CIFAR-10 needs img (or image) and label")
    labels = table["label"].to_pylist()
    for row, label in enumerate(labels):
        if not isinstance(label, int):
            raise DataError(f"{file}: row {row} has the label {label!r}; labels are integers")
    checked = check_labels(np.asarray(labels, dtype=np.int64), len(CIFAR10_CLASSES), file)
    return _encoded_bytes(table[image].to_pylist(), file), checked


def _encoded_bytes(values: list[Any], file: Path) -> list[bytes]:
    encoded = []
    for row, value in enumerate(values):
        image = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(image, bytes):
            raise DataError(f"{file}: row {row} holds no encoded image; the column needs a struct with bytes")
        encoded.append(image)
    return encoded
