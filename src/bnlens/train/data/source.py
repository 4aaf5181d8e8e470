"""The result of a reader: the labels at once, the pixels of chosen images on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnlens.errors import DataError

__all__ = ["CIFAR10_CLASSES", "CIFAR10_MEAN", "CIFAR10_STD", "Source", "Split", "balanced_subset", "check_labels"]

Split: TypeAlias = Literal["train", "test"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Per channel (red, green, blue) over the 50,000 training images, in units of 255.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True, eq=False)
class Source:
    """One split of a data set whose images are decoded only when chosen.

    Attributes:
        name: what the data are called in tables.
        class_names: the name of each label.
        labels: int64, shape (P,).
        read: maps indices, int64 of shape (n,), to pixels in [0, 1], float32 of shape (n, C, H, W).
        mean: per channel, of the training split.
        std: per channel, of the training split, biased.
    """

    name: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def check_labels(labels: NDArray[np.int64], num_classes: int, where: object) -> NDArray[np.int64]:
    """Return ``labels``, all in ``[0, num_classes)``.

    Raises:
        DataError: one is outside, or there is none.
    """
    if len(labels) == 0:
        raise DataError(f"{where} holds no images")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise DataError(
            f"{where}: row {outside[0]} has the label {labels[outside[0]]}, outside the {num_classes} classes; "
            f"labels run from 0 to {num_classes - 1}"
        )
    return labels


def balanced_subset(labels: NDArray[np.int64], num_classes: int, samples: int, seed: int) -> NDArray[np.int64]:
    """Draw ``samples`` indices without replacement, the same number of each class, in random order.

    Where ``samples`` is no multiple of ``num_classes``, some classes, drawn at random, give one image more.

    Raises:
        DataError: a class has too few images.

    >>> labels = np.repeat(np.arange(3), 5)
    >>> np.bincount(labels[balanced_subset(labels, 3, 6, seed=0)]).tolist()
    [2, 2, 2]
    """
    generator = np.random.default_rng(seed)
    wanted = np.full(num_classes, samples // num_classes)
    wanted[generator.permutation(num_classes)[: samples % num_classes]] += 1
    chosen = []
    for label, count in enumerate(wanted):
        members = np.flatnonzero(labels == label)
        if len(members) < count:
            raise DataError(
                f"{samples} balanced samples need {count} images of class {label}, which has {len(members)}; "
                "ask for fewer samples"
            )
        chosen.append(generator.permutation(members)[:count])
    return generator.permutation(np.concatenate(chosen)).astype(np.int64)
