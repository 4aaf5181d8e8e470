"""Decoding of PNG, JPEG and other image files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.errors import DataError
from bnlens.train._optional import require

__all__ = ["decode_images"]


def decode_images(
    files: Iterable[tuple[object, Any]], *, mode: str, size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Decode images of one size.

    Args:
        files: pairs of a name for error messages and a path or an open binary file.
        mode: ``"RGB"`` (three channels) or ``"L"`` (one); images of another mode are converted.
        size: (height, width) that every image must have; that of the first image when not given.

    Returns:
        Pixels in [0, 1], float32, shape (n, C, H, W).

    Raises:
        DataError: an image is corrupt or of another size, or pillow is not installed.
    """
    image_module = require("PIL.Image", "reading images")
    pixels: list[NDArray[np.uint8]] = []
    for name, file in files:
        try:
            with image_module.open(file) as image:
                array = np.asarray(image.convert(mode), dtype=np.uint8)
        # pillow reports damage by many types, some of them only Exception's direct children
        except Exception as error:
            raise DataError(f"{name} is not a readable image; replace or remove it") from error
        size = size or (array.shape[0], array.shape[1])
        if array.shape[:2] != size:
            raise DataError(
                f"{name} is {array.shape[0]}x{array.shape[1]} pixels where {size[0]}x{size[1]} is expected; "
                "resize the images to one size"
            )
        pixels.append(array if array.ndim == 3 else array[:, :, None])
    scaled = np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2)).astype(np.float32)
    scaled /= 255  # in place: the images of a large set are held once
    return scaled
