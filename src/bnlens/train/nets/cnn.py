"""A plain convolutional net with batch normalization."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from bnlens._arguments import Count, checked
from bnlens.train.nets.normalization import (
    Dropout,
    ImageShape,
    Norm,
    conv,
    has_bias,
    initialize_convolutions,
    make_norm,
)

__all__ = ["CNN"]


class CNN(nn.Module):
    """Four blocks of 3x3 convolution, ``BatchNorm2d``, ReLU; global average pooling; a linear layer. 4 BN layers.

    Channels w, w, 2w, 2w and strides 2, 1, 2, 1: images of H x W pixels reach the pooling at a quarter of each side,
    8x8 for CIFAR-10 and 2x2 for 8x8 digits. With C input channels and K classes it has
    ``9 C w + 63 w^2 + 12 w + (2 w + 1) K`` parameters: 66,410 for CIFAR-10 at the default width of 32. With ``hidden`` it
    has a second linear layer, ``BatchNorm1d`` and ReLU before the last, the paper's form.

    Arguments and shapes are those of `build_net`; a function for ``norm`` must make layers for (N, features), too, where
    there are ``hidden`` units.

    >>> sum(p.numel() for p in CNN(input_shape=(3, 32, 32), num_classes=10).parameters())
    66410
    """

    @checked
    def __init__(
        self,
        *,
        input_shape: ImageShape,
        num_classes: Count,
        width: Count = 32,
        norm: Norm = "bn",
        dropout: Dropout = 0.0,
        hidden: Count | None = None,
    ) -> None:
        super().__init__()
        sizes = (input_shape[0], width, width, 2 * width, 2 * width)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(conv(inputs, outputs, norm, stride=stride), make_norm(norm, outputs), nn.ReLU())
                for inputs, outputs, stride in zip(sizes[:-1], sizes[1:], (2, 1, 2, 1), strict=True)
            )
        )
        self.hidden: nn.Module = nn.Identity()
        if hidden is not None:
            linear = nn.Linear(2 * width, hidden, bias=has_bias(norm))
            self.hidden = nn.Sequential(linear, make_norm(norm, hidden, dimensions=1), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden or 2 * width, num_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        return cast("Tensor", self.fc(self.dropout(self.hidden(self.blocks(images).mean(dim=(2, 3))))))
