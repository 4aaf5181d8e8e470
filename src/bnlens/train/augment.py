"""Random crops and flips of whole batches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Crops", "augment", "draw_crops", "padding"]

_PADDING_SHARE = 8  # 4 pixels on each side of 32, as on CIFAR since He et al. 2016 (arXiv 1512.03385)


def padding(size: int) -> int:
    """Return the pixels added on each side of an edge of ``size`` pixels: an eighth of it, at least 1.

    >>> padding(32), padding(8), padding(4)
    (4, 1, 1)
    """
    return max(1, size // _PADDING_SHARE)


class Crops(NamedTuple):
    """The places at which the images of a batch are cut out of their padded forms.

    Attributes:
        top: int64, (N,), rows above the crop, 0 to twice the padding.
        left: int64, (N,), columns beside it.
        flipped: bool, (N,), whether it is turned left to right.
    """

    top: Tensor
    left: Tensor
    flipped: Tensor

    def of(self, rows: Tensor) -> Crops:
        """Return the crops of some images of the batch."""
        return Crops(self.top[rows], self.left[rows], self.flipped[rows])


def draw_crops(count: int, height: int, width: int, generator: torch.Generator) -> Crops:
    """Draw uniform places and fair flips for ``count`` images; torch's global generator is not used."""
    return Crops(
        torch.randint(2 * padding(height) + 1, (count,), generator=generator),
        torch.randint(2 * padding(width) + 1, (count,), generator=generator),
        torch.randint(2, (count,), generator=generator, dtype=torch.bool),
    )


def augment(images: Tensor, crops: Crops) -> Tensor:
    """Return the crops of ``images`` (N, C, H, W), of the same size; outside of an image lie zeros, the mean colour."""
    count, channels, height, width = images.shape
    top, left, flipped = (tensor.to(images.device) for tensor in crops)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = torch.where(flipped[:, None], columns.flip(1), columns) + left[:, None]
    rows = torch.arange(height, device=images.device) + top[:, None]
    padded = F.pad(images, (padding(width),) * 2 + (padding(height),) * 2)
    places = rows[:, :, None] * padded.shape[3] + columns[:, None, :]  # (N, H, W), in the flattened padded image
    places = places.view(count, 1, height * width).expand(count, channels, height * width)
    return padded.flatten(2).gather(2, places).view(images.shape)
