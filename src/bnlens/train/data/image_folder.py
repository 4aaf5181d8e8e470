"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnlens.errors import DataError
from bnlens.train._optional import require
from bnlens.train.data.encoded import decode_images
from bnlens.train.data.source import Source, Split

__all__ = ["explain_folder", "find_classes", "read_image_folder"]

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}
_SPLITS = frozenset(name for names in _SPLIT_FOLDERS.values() for name in names)
_MOMENT_IMAGES = 5000
_GREY_MODES = frozenset({"1", "L"})


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class folder under ``folder``, both in alphabetical order."""
    if not folder.is_dir():
        return {}
    found = {}
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = sorted(file for file in place.iterdir() if file.suffix.lower() in _SUFFIXES and file.name[0] != ".")
        if files:
            found[place.name] = files
    return found


def read_image_folder(folder: Path, split: Split) -> Source | None:
    """Read ``folder/SPLIT/CLASS/*.png`` (jpg, bmp, webp, ...), or ``folder/CLASS/*`` as the training split.

    ``val`` stands for ``test`` where there is no ``test``. Labels follow the alphabetical order of the training split's
    class folders. The constants of the standardisation come from the training split, from 5,000 evenly spread images of
    it where it has more. Images are read as grey where the first training image is, else as RGB.

    Returns:
        The split, or None where no class folder holds an image.

    Raises:
        DataError: the folder has no such split, a class is unknown to the training split, an image is corrupt, sizes
            differ, or pillow is not installed.
    """
    train = find_classes(folder / "train")
    flat = not train
    if flat:
        train = find_classes(folder)
    if flat and set(train) <= _SPLITS:
        return None
    classes = tuple(train)
    chosen = train if split == "train" else _find_test(folder)
    unknown = sorted(set(chosen) - set(classes))
    if unknown:
        raise DataError(f"{folder}: class {unknown[0]} of the {split} split has no folder in the training split")
    labels = np.repeat([classes.index(name) for name in chosen], [len(files) for files in chosen.values()])
    files = [file for group in chosen.values() for file in group]
    train_files = [file for group in train.values() for file in group]
    mode, size = _first_image(train_files[0])

    def read(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return decode_images(((files[i], files[i]) for i in indices), mode=mode, size=size)

    mean, std = _moments(train_files, mode, size)
    return Source(folder.resolve().name, classes, labels.astype(np.int64), read, mean, std)


def explain_folder(folder: Path) -> str:
    """Return the end of a sentence about a folder in which nothing was found to train on, with the fix."""
    if others := [name for name in _SPLIT_FOLDERS["test"] if find_classes(folder / name)]:
        train = folder / "train"
        return f"holds a {others[0]} split alone; put the images to train on in {train}, one folder per class"
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if any(entry.suffix.lower() in _SUFFIXES for entry in entries):
        return "holds images that are in no class; put them in one folder per class"
    places = [entry for entry in (folder / "train", folder) if entry.is_dir()]
    classes = [
        entry for place in places for entry in sorted(place.iterdir()) if entry.is_dir() and entry.name != "train"
    ]
    if classes:
        fix = "put those of each class in its folder, as .png or .jpg"
        return f"has folders, such as {classes[0].name}, but no image in them; {fix}"
    return "holds no known layout; it needs train.parquet, data_batch_1 or a folder of images for each class"


def _find_test(folder: Path) -> dict[str, list[Path]]:
    for name in _SPLIT_FOLDERS["test"]:
        if found := find_classes(folder / name):
            return found
    raise DataError(f"{folder} has no test split; put its images in {folder / 'test'}, one folder per class")


def _first_image(file: Path) -> tuple[str, tuple[int, int]]:
    image_module = require("PIL.Image", "reading images")
    try:
        with image_module.open(file) as image:
            return "L" if image.mode in _GREY_MODES else "RGB", (image.height, image.width)
    except Exception as error:  # as in decode_images
        raise DataError(f"{file} is not a readable image; replace or remove it") from error


def _moments(files: list[Path], mode: str, size: tuple[int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and biased standard deviation of the pixels per channel, in chunks that fit in memory."""
    rows = np.unique(np.linspace(0, len(files) - 1, min(len(files), _MOMENT_IMAGES)).astype(np.int64))
    channels = 1 if mode == "L" else 3
    total, squares = np.zeros(channels), np.zeros(channels)
    for chunk in np.array_split(rows, -(-len(rows) // 256)):
        pixels = decode_images(((files[i], files[i]) for i in chunk), mode=mode, size=size).astype(np.float64)
        total += pixels.sum(axis=(0, 2, 3))
        squares += (pixels**2).sum(axis=(0, 2, 3))
    count = len(rows) * size[0] * size[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return tuple(mean.tolist()), tuple(std.tolist())
