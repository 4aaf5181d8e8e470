"""A multilayer perceptron with batch normalization."""

from __future__ import annotations

import itertools
from math import prod
from typing import cast

from torch import Tensor, nn

from bnlens._arguments import Count, checked
from bnlens.train.nets.normalization import Dropout, ImageShape, Norm, has_bias, make_norm

__all__ = ["MLP"]


class MLP(nn.Module):
    """Three hidden layers, each linear, ``BatchNorm1d``, ReLU, on the flattened image; 3 BN layers.

    With D = C*H*W inputs, width w and K classes it has ``D w + 2 w^2 + 6 w + (w + 1) K`` parameters: 43,018 for
    8x8 grey images and ten classes at the default width of 128. Without normalization the hidden layers have biases and
    start from N(0, 2 / fan_in) as convolutions do.

    Arguments and shapes are those of `build_net`; a function for ``norm`` must make layers for (N, features).

    >>> sum(p.numel() for p in MLP(input_shape=(1, 8, 8), num_classes=10).parameters())
    43018
    """

    @checked
    def __init__(
        self,
        *,
        input_shape: ImageShape,
        num_classes: Count,
        width: Count = 128,
        norm: Norm = "bn",
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        sizes = (prod(input_shape), width, width, width)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Linear(inputs, outputs, bias=has_bias(norm)), make_norm(norm, outputs, dimensions=1), nn.ReLU()
                )
                for inputs, outputs in itertools.pairwise(sizes)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)
        if norm == "none":
            for linear in self.layers.modules():
                if isinstance(linear, nn.Linear):
                    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
                    nn.init.zeros_(linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        return cast("Tensor", self.fc(self.dropout(self.layers(images.flatten(1)))))
