"""One function from a name or a folder to standardised images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bnlens._arguments import Count, Seed, checked
from bnlens.errors import DataError
from bnlens.train.data.cifar_parquet import find_parquet, read_parquet
from bnlens.train.data.cifar_pickle import find_pickles, read_pickles
from bnlens.train.data.digits import read_digits
from bnlens.train.data.image_data import ImageData
from bnlens.train.data.image_folder import explain_folder, read_image_folder
from bnlens.train.data.source import Source, Split, balanced_subset

__all__ = ["check_data", "load_data"]

_SMALLEST_STD = 1e-6


@checked
def load_data(
    name_or_path: str | os.PathLike[str], *, split: Split = "train", samples: Count | None = None, seed: Seed = 0
) -> ImageData:
    """Read images and standardise each channel, ``(pixel - mean) / std`` with constants of the training split.

    The layout of a folder is recognised: CIFAR-10 as parquet (``train.parquet``, ``train-00000-of-00001.parquet``), as
    the original pickled batches (``data_batch_1`` ...; only array data are unpickled), or any images of one size with a
    folder per class (``train/CLASS/*.png``; without ``train``, ``CLASS/*`` is the training split).

    Args:
        name_or_path: ``"digits"``, 1,797 handwritten digits of 8x8 pixels that need no download, or a folder.
        split: ``"train"`` or ``"test"``.
        samples: size of a balanced random subset; all images, in the source's order, when not given.
        seed: of that subset. The split itself never depends on it.

    Raises:
        DataError: the data are missing, corrupt, too few, or need a package that is not installed.
        UsageError: ``split`` or ``samples`` has no meaning.

    >>> data = load_data("digits", samples=100)
    >>> data
    ImageData('digits', split='train', images=100x1x8x8, classes=10)
    >>> data.labels.bincount().tolist()
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    source, rows = _chosen(name_or_path, split, samples, seed)
    images = torch.from_numpy(source.read(rows))
    # a channel that never varies is centred and left at that
    std = tuple(value if value > _SMALLEST_STD else 1.0 for value in source.std)
    images.sub_(torch.tensor(source.mean).view(-1, 1, 1)).div_(torch.tensor(std).view(-1, 1, 1))
    labels = torch.from_numpy(source.labels[rows])
    return ImageData(images, labels, source.class_names, source.name, split, source.mean, std)


@checked
def check_data(
    name_or_path: str | os.PathLike[str], *, split: Split = "train", samples: Count | None = None, seed: Seed = 0
) -> None:
    """Raise where `load_data` would of these arguments, but for images that are corrupt: none is decoded.

    Raises:
        DataError: see `load_data`.
        UsageError: likewise.
    """
    _chosen(name_or_path, split, samples, seed)


def _chosen(
    name_or_path: str | os.PathLike[str], split: Split, samples: int | None, seed: int
) -> tuple[Source, NDArray[np.int64]]:
    """Return the split and the rows of it that are asked for."""
    source = read_digits(split) if name_or_path == "digits" else _read_folder(Path(name_or_path).expanduser(), split)
    if samples is None:
        return source, np.arange(len(source.labels))
    try:
        return source, balanced_subset(source.labels, len(source.class_names), samples, seed)
    except DataError as error:
        raise DataError(f"{source.name}, {split} split: {error}") from error


def _read_folder(folder: Path, split: Split) -> Source:
    if folder.is_file():
        raise DataError(f"{folder} is a file; give the folder that holds it")
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give 'digits' or the path of a folder of images")
    try:
        if find_parquet(folder, "train") or find_parquet(folder, "test"):
            return read_parquet(folder, split)
        if batches := find_pickles(folder):
            return read_pickles(batches, split)
        if source := read_image_folder(folder, split):
            return source
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}; check its permissions") from error
    raise DataError(f"{folder} {explain_folder(folder)}")
