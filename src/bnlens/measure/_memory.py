"""How many samples can go through a model at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnlens.measure._intercept import Handler

__all__ = ["Footprint"]

_ALIVE = 5  # times the largest input of a BN layer, as measured on a preactivation residual net
_CPU_LIMIT = 2**31  # bytes; what is free says little on a CPU, whose memory others use


class Footprint:
    """The memory that each sample takes in a forward pass without gradients, estimated from the inputs of BN layers.

    Args:
        data: a batch.
        size: how many samples it holds.
    """

    def __init__(self, data: Any, size: int) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves(data) if isinstance(leaf, Tensor)]
        self._data = sum(leaf.numel() * leaf.element_size() for leaf in tensors)
        self._size, self._largest = size, 0
        self._device = torch.device("cpu")

    def noting(self, then: Handler) -> Handler:
        """Return a handler that notes how large the inputs of BN layers are."""

        def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
            self._largest = max(self._largest, h.numel() * h.element_size())
            self._device = h.device
            return then(name, h, gamma, beta, eps)

        return handle

    @property
    def per_sample(self) -> float:
        """Bytes that are alive at once."""
        return (self._data + _ALIVE * self._largest) / self._size

    @property
    def limit(self) -> float:
        """Bytes that may be used: 2 GiB on a CPU, half of what is free on a GPU."""
        return torch.cuda.mem_get_info(self._device)[0] / 2 if self._device.type == "cuda" else _CPU_LIMIT

    @property
    def samples(self) -> int:
        """How many samples fit."""
        return int(self.limit / max(self.per_sample, 1))
