"""Residual nets whose blocks normalise after each convolution: a small one, and ResNet-18 for images of 32 pixels."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from bnlens.train.nets.initialization import initialize_convolutions
from bnlens.train.nets.normalization import Norm, conv, make_norm, start_residual_branches

__all__ = ["ResNet", "ResNet18", "ResidualBlock"]

_STEM_STRIDE_FROM = 32  # pixels; at full size the first stage alone would cost as much as the rest


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

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        widths: tuple[int, ...],
        blocks: int,
        stem_stride: int,
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        self.conv = conv(channels, widths[0], norm, stride=stem_stride)
        self.bn = make_norm(norm, widths[0])
        layers: list[ResidualBlock] = []
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                layers.append(ResidualBlock(inputs, outputs, 2 if stage and not block else 1, norm))
                inputs = outputs
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[-1], num_classes)
        initialize_convolutions(self)
        if norm == "none":
            start_residual_branches([[block.conv1, block.conv2] for block in layers])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        x = self.stages(F.relu(self.bn(self.conv(images))))
        return cast("Tensor", self.fc(self.dropout(x.mean(dim=(2, 3)))))


class ResNet(_Stages):
    """Stem, three stages of one residual block, global average pooling and a linear layer; 9 BN layers.

    Channels w, 2w, 4w at strides 1, 2, 2. The stem is a 3x3 convolution with ``BatchNorm2d``, of stride 2 for images of
    32 pixels or more on both sides. It has 78,042 parameters for CIFAR-10 at the default width of 16.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: K.
        width: w.
        norm: see `build_net`.
        dropout: share of the inputs of the last layer that are dropped in training.

    Shape:
        - Input: (N, C, H, W)
        - Output: (N, K), logits

    >>> net = ResNet(input_shape=(3, 32, 32), num_classes=10)
    >>> sum(p.numel() for p in net.parameters()), sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    (78042, 9)
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        width: int = 16,
        norm: Norm = "bn",
        dropout: float = 0.0,
    ) -> None:
        channels, height, width_pixels = input_shape
        super().__init__(
            channels,
            num_classes,
            widths=(width, 2 * width, 4 * width),
            blocks=1,
            stem_stride=2 if min(height, width_pixels) >= _STEM_STRIDE_FROM else 1,
            norm=norm,
            dropout=dropout,
        )


class ResNet18(_Stages):
    """ResNet-18 (He et al. 2016, arXiv 1512.03385) as it is used on CIFAR: a 3x3 stem of stride 1 and no max-pooling.

    Four stages of two residual blocks, channels w, 2w, 4w, 8w at strides 1, 2, 2, 2; 20 BN layers; 11,173,962 parameters for
    CIFAR-10 at the default width of 64.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: K.
        width: w.
        norm: see `build_net`.
        dropout: share of the inputs of the last layer that are dropped in training.

    Shape:
        - Input: (N, C, H, W)
        - Output: (N, K), logits
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        width: int = 64,
        norm: Norm = "bn",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            input_shape[0],
            num_classes,
            widths=(width, 2 * width, 4 * width, 8 * width),
            blocks=2,
            stem_stride=1,
            norm=norm,
            dropout=dropout,
        )
