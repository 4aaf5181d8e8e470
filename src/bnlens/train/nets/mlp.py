"""A multilayer perceptron with batch normalization."""

from __future__ import annotations

import itertools
from math import prod
from typing import cast

from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Three hidden layers, each linear, ``BatchNorm1d``, ReLU, on the flattened image; 3 BN layers.

    With D = C*H*W inputs, width w and K classes it has ``D w + 2 w^2 + 6 w + (w + 1) K`` parameters: 43,018 for
    8x8 grey images and ten classes at the default width of 128.

    Shape:
        - Input: (N, C, H, W)
        - Output: (N, K), logits

    >>> sum(p.numel() for p in MLP(input_shape=(1, 8, 8), num_classes=10).parameters())
    43018
    """

    def __init__(self, *, input_shape: tuple[int, int, int], num_classes: int, width: int = 128) -> None:
        super().__init__()
        sizes = (prod(input_shape), width, width, width)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
                for inputs, outputs in itertools.pairwise(sizes)
            )
        )
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        return cast("Tensor", self.fc(self.layers(images.flatten(1))))
