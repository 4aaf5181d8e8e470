"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnlens.train.data.source import Source, Split

__all__ = ["read_digits"]

_TEST_PER_CLASS = 36
_SPLIT_SEED = 1797  # fixed: whatever seed draws a subset, no test image is ever a training image


def read_digits(split: Split) -> Source:
    """Read 8x8 grey digits, 1,797 images of ten classes (UCI optical recognition of handwritten digits).

    The test split has 36 images of each class, 360 in all; the training split has the other 1,437, 138 to 147 of each.
    """
    from sklearn.datasets import load_digits  # takes a second; only these data need it

    digits = load_digits()
    # (P, 1, 8, 8); the raw range is 0 to 16
    pixels: NDArray[np.float32] = np.asarray(digits.images[:, None] / 16, dtype=np.float32)
    labels = digits.target.astype(np.int64)
    generator = np.random.default_rng(_SPLIT_SEED)
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    test = np.sort(np.concatenate([rows[:_TEST_PER_CLASS] for rows in members]))
    train = np.sort(np.concatenate([rows[_TEST_PER_CLASS:] for rows in members]))
    rows = train if split == "train" else test

    def read(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.take(pixels, rows[indices], axis=0)

    mean, std = pixels[train].mean(dtype=np.float64), pixels[train].std(dtype=np.float64)
    return Source("digits", tuple(map(str, range(10))), labels[rows], read, (float(mean),), (float(std),))
