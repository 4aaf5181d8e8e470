"""Labelled images in memory, and a loader over them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bnlens._arguments import Count, Seed, Whole, checked
from bnlens.errors import DataError, UsageError

__all__ = ["ImageData", "loader"]

_FINGERPRINT_ROWS = 4096  # images hashed at a time: a part that is not contiguous or on a GPU is copied


@checked
@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, standardised per channel: ``image = (pixel - mean) / std``.

    Attributes:
        images: float32, shape (P, C, H, W).
        labels: int64, shape (P,), each in ``[0, len(class_names))``.
        class_names: the name of each label.
        name: what the data are called in tables, such as ``"CIFAR-10 (JPEG)"``.
        split: ``"train"`` or ``"test"``.
        mean: per channel, in units of the full pixel range [0, 1]; of the training split, whatever ``split`` is.
        std: likewise, biased.

    Raises:
        DataError: shapes or dtypes differ from the above, or a label lies outside the classes.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str
    split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _fingerprints: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.float32:
            raise DataError(
                f"{self.name}: images must be float32 of shape (P, C, H, W), "
                f"got {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise DataError(
                f"{self.name}: labels must be int64 of shape ({len(self.images)},), "
                f"got {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        outside = (self.labels < 0) | (self.labels >= self.num_classes)
        if outside.any():
            raise DataError(
                f"{self.name}: label {int(self.labels[outside][0])} lies outside the {self.num_classes} classes; "
                f"labels run from 0 to {self.num_classes - 1}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape))
        return f"ImageData({self.name!r}, split={self.split!r}, images={shape}, classes={self.num_classes})"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the images as they are in memory, their shape, and the labels.

        Kept until a tensor is changed in place; 50,000 images of CIFAR-10 take about half a second.
        """
        versions = self.images._version, self.labels._version
        if self._fingerprints.get("versions") != versions:
            digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
            for tensor in (self.images, self.labels):
                for part in torch.split(tensor, _FINGERPRINT_ROWS):
                    digest.update(part.cpu().contiguous().numpy().data)
            self._fingerprints.update(versions=versions, digest=digest.hexdigest())
        found: str = self._fingerprints["digest"]
        return found


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Fetches a whole batch by one indexing operation; item by item, collation takes longer than a small net's step."""

    def __init__(self, data: ImageData, first: int, stride: int) -> None:
        self.data = data
        self.rows = range(first, len(data), stride)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.data.images[self.rows[index]], self.data.labels[self.rows[index]]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows.start + self.rows.step * torch.as_tensor(indices)
        return self.data.images[rows], self.data.labels[rows]


def _as_is(batch: Any) -> Any:
    return batch


@checked
def loader(
    data: ImageData,
    batch_size: Count,
    *,
    shuffle: bool = False,
    seed: Seed = 0,
    rank: Whole = 0,
    processes: Count = 1,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return a loader of ``(images, labels)`` batches; the last one holds what is left.

    Args:
        data: the images.
        batch_size: images per batch.
        shuffle: draw a new order in each pass.
        seed: of the orders. Two loaders of one seed give the same sequence of passes, and neither draws from torch's
            global generator.
        rank: number of this process among ``processes``; it gets images ``rank``, ``rank + processes`` and so on.
        processes: that share the images.

    Raises:
        UsageError: ``batch_size`` is below 1, or ``rank`` is not below ``processes``.
    """
    if rank >= processes:
        raise UsageError(f"rank is {rank}; it must be below processes, {processes}")
    return DataLoader(
        _Batches(data, rank, processes),
        batch_size=batch_size,
        shuffle=shuffle,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=_as_is,
    )
