"""Residual nets whose blocks normalise after each convolution: a small one, and ResNet-18 for images of 32 pixels."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from bnlens._arguments import Count, checked
from bnlens.train.nets import normalization
from bnlens.train.nets.normalization import Dropout, ImageShape, Norm, conv, make_norm

__all__ = ["ResNet", "ResNet18", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`` (He et al. 2016, arXiv 1512.03385).

    The shortcut is the identity where shapes agree, else a 1x1 convolution with its own ``BatchNorm2d``.

    Shape:
        - Input: (N, C_in, H, W)
        - Output: (N, C_out, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm = "bn") -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, norm, stride=stride)
        self.bn1 = make_norm(norm, outputs)
        self.conv2 = conv(outputs, outputs, norm)
        self.bn2 = make_norm(norm, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, norm, size=1, stride=stride), make_norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class _Stages(nn.Module):
    """Stem, stages of residual blocks at strides 1, 2, 2, ..., global average pooling, dropout and a linear layer."""

    _width: int  # by default
    _stages: int
    _blocks: int  # in each stage
    _halved_from: float  # pixels on both sides, from which the stem has stride 2

    @checked
    def __init__(
        self,
        *,
        input_shape: ImageShape,
        num_classes: Count,
        width: Count | None = None,
        norm: Norm = "bn",
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        channels, *pixels = input_shape
        width = self._width if width is None else width
        self.conv = conv(channels, width, norm, stride=2 if min(pixels) >= self._halved_from else 1)
        self.bn = make_norm(norm, width)
        layers: list[ResidualBlock] = []
        inputs = width
        for stage in range(self._stages):
            outputs = width * 2**stage
            for block in range(self._blocks):
                layers.append(ResidualBlock(inputs, outputs, 2 if stage and not block else 1, norm))
                inputs = outputs
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, num_classes)
        normalization.initialize_convolutions(self)
        if norm == "none":
            normalization.start_residual_branches([[block.conv1, block.conv2] for block in layers])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        x = self.stages(F.relu(self.bn(self.conv(images))))
        return cast("Tensor", self.fc(self.dropout(x.mean(dim=(2, 3)))))


class ResNet(_Stages):
    """Stem, three stages of one residual block, global average pooling and a linear layer; 9 BN layers.

    Channels w, 2w, 4w at strides 1, 2, 2. The stem is a 3x3 convolution with ``BatchNorm2d``, of stride 2 for images of
    32 pixels or more on both sides. It has 78,042 parameters for CIFAR-10 at the default width of 16.

    Arguments and shapes are those of `build_net`.

    >>> net = ResNet(input_shape=(3, 32, 32), num_classes=10)
    >>> sum(p.numel() for p in net.parameters()), sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    (78042, 9)
    """

    _width, _stages, _blocks = 16, 3, 1
    _halved_from = 32  # at full size the first stage alone would cost as much as the rest


class ResNet18(_Stages):
    """ResNet-18 (He et al. 2016, arXiv 1512.03385) as it is used on CIFAR: a 3x3 stem of stride 1 and no max-pooling.

    Four stages of two residual blocks, channels w, 2w, 4w, 8w at strides 1, 2, 2, 2; 20 BN layers; 11,173,962 parameters for
    CIFAR-10 at the default width of 64.

    Arguments and shapes are those of `build_net`.
    """

    _width, _stages, _blocks = 64, 4, 2
    _halved_from = math.inf
