"""The images of each step: their order, each process's share, and the place of a run in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnlens.train.augment import augment, draw_crops
from bnlens.train.data import ImageData

__all__ = ["Batches"]

_AUGMENTATION_STREAM = 0x5EED  # added to the seed: crops are not drawn from the order's numbers


class Batches:
    """Batch after batch of images and labels, a new order in each epoch; what does not fill a batch sits an epoch out.

    All processes draw the same order and the same crops. Of every ``processes * micro`` images of a batch, process r takes
    the r-th ``micro``: its forward passes join those of the others to the forward passes that one process would make.

    Args:
        data: the images, on the CPU.
        batch_size: images per batch over all processes, a multiple of ``processes * micro``.
        micro: images per forward pass of one process.
        augmented: draw crops and flips.
        seed: of the order and of the crops.
        rank: number of this process.
        processes: how many there are.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: int,
        *,
        micro: int,
        augmented: bool = False,
        seed: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._data, self._batch_size, self._augmented = data, batch_size, augmented
        self._order_generator = torch.Generator().manual_seed(seed)
        self._crop_generator = torch.Generator().manual_seed(seed + _AUGMENTATION_STREAM)
        self._before_order = self._order_generator.get_state()
        self._order = torch.empty(0, dtype=torch.int64)
        self._taken = 0
        place = torch.arange(batch_size)
        self._share = place[(place // micro) % processes == rank] if processes > 1 else None

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self._data) // self._batch_size

    def next(self) -> tuple[Tensor, Tensor]:
        """Return this process's share of the next batch: images (N, C, H, W) and labels (N,)."""
        if self._taken + self._batch_size > len(self._order):
            self._draw_order()
            self._taken = 0
        rows = self._order[self._taken : self._taken + self._batch_size]
        self._taken += self._batch_size
        # Crops are drawn for the batch as a whole: what an image's is does not depend on the number of processes.
        crops = draw_crops(len(rows), *self._data.input_shape[1:], self._crop_generator) if self._augmented else None
        if self._share is not None:
            rows = rows[self._share]
            crops = crops and crops.of(self._share)
        images = self._data.images[rows]
        return images if crops is None else augment(images, crops), self._data.labels[rows]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`: the place in the order, and the generators."""
        crops, begun = self._crop_generator.get_state(), bool(len(self._order))
        return {"before_order": self._before_order, "taken": self._taken, "crops": crops, "begun": begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the batches that gave ``state`` stood."""
        self._order_generator.set_state(state["before_order"])
        if state["begun"]:
            self._draw_order()
        self._taken = state["taken"]
        self._crop_generator.set_state(state["crops"])

    def _draw_order(self) -> None:
        self._before_order = self._order_generator.get_state()
        order = torch.randperm(len(self._data), generator=self._order_generator)
        self._order = order[: len(order) - len(order) % self._batch_size]
