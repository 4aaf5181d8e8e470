"""The base of all sums: the common fields, how a batch is read, and the rule for values that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from bnlens._arguments import Count, checked
from bnlens._devices import Device
from bnlens.errors import UsageError

__all__ = ["AnySums", "Sums", "check_mergeable", "update_sums"]

# Elements of one float64 piece: on a CPU it stays in the second-level cache, elsewhere it bounds the memory.
_PIECE_CPU = 2**17
_PIECE_ACCELERATOR = 2**24


@dataclass(frozen=True, eq=False)
class Sums:
    """The fields that all sums have; a kind of sums adds its own float64 tensors.

    Attributes:
        count: samples n per channel, shape (), int64.
        skipped_batches: batches left out because they were not finite, shape (), int64.
        mean: (C,) float64, zero where nothing was seen.
    """

    _order: ClassVar[int] = 1  # dimensions of a kind's own tensors, each of length C

    count: Tensor
    skipped_batches: Tensor
    mean: Tensor

    @classmethod
    @checked
    def empty(cls: type[AnySums], num_features: Count, *, device: Device | None = None) -> AnySums:
        """Return sums over no samples: the neutral element of merging.

        Args:
            num_features: number of channels C.
            device: where the sums live, and where batches are brought to; it must know float64.

        Raises:
            UsageError: ``num_features`` is below one.
        """
        zero = torch.zeros((), dtype=torch.int64, device=device)
        mean = torch.zeros(num_features, dtype=torch.float64, device=device)
        own = len(fields(cls)) - len(fields(Sums))
        return cls(zero, zero, mean, *(mean.new_zeros([num_features] * cls._order) for _ in range(own)))

    @property
    def num_features(self) -> int:
        """Number of channels C."""
        return self.mean.shape[0]

    @checked
    def to(self: AnySums, device: Device) -> AnySums:
        """Return the same sums on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


AnySums = TypeVar("AnySums", bound=Sums)


def update_sums(
    sums: AnySums, batch: Tensor, sums_of: Callable[[Tensor], AnySums], merge: Callable[[AnySums, AnySums], AnySums]
) -> AnySums:
    """Add a batch to any kind of sums, as `update_moments` does; count it as skipped if the result would not be finite.

    ``sums_of`` gives the sums over one float64 piece (C, samples), which it may overwrite; a value that is not finite must
    reach the last field. ``merge`` joins two sums.
    """
    if not batch.is_floating_point():
        raise UsageError(f"the batch has dtype {batch.dtype}; convert it to a floating dtype first")
    if batch.dim() < 2:
        raise UsageError(f"the batch has shape {tuple(batch.shape)}; give it the shape (N, C) or (N, C, *spatial)")
    if batch.shape[1] != sums.num_features:
        raise UsageError(
            f"the batch of shape {tuple(batch.shape)} has {batch.shape[1]} channels in dimension 1 but the sums have "
            f"{sums.num_features}; create them with num_features={batch.shape[1]}"
        )
    if batch.numel() == 0:
        return sums
    merged = merge(sums, reduce(merge, map(sums_of, _float64_pieces(batch.detach(), sums.mean.device))))
    names = [field.name for field in fields(sums)]
    finite = getattr(merged, names[-1]).isfinite().all()
    # Chosen by `where`, not `if`, so that an accelerator need not be waited for.
    kept = type(sums)(*(torch.where(finite, getattr(merged, name), getattr(sums, name)) for name in names))
    return replace(kept, skipped_batches=sums.skipped_batches + (~finite).long())


def check_mergeable(first: Sums, second: Sums) -> None:
    """Raise UsageError unless both sums have the same number of channels."""
    if first.num_features != second.num_features:
        raise UsageError(
            f"sums over {first.num_features} and over {second.num_features} channels cannot be merged; "
            "merge sums of the same layer"
        )


def _float64_pieces(batch: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Yield copies of shape (C, samples) that together hold each value of the batch once."""
    batch = batch.unsqueeze(-1) if batch.dim() == 2 else batch.flatten(2)  # (N, C, L)
    _, channels, length = batch.shape
    elements = _PIECE_CPU if device.type == "cpu" else _PIECE_ACCELERATOR
    for images in torch.split(batch, max(1, elements // (channels * length))):
        for part in torch.split(images, max(1, elements // channels), dim=2):
            # Channels first, as maps have them; moving and then casting is faster than both at once.
            yield part.transpose(0, 1).reshape(channels, -1).to(device).to(torch.float64, copy=True)
