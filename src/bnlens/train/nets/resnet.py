"""A small residual net with batch normalization."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from bnlens.train.nets.initialization import initialize_convolutions

__all__ = ["ResNet", "ResidualBlock"]

_STEM_STRIDE_FROM = 32  # pixels; at full size the first stage alone would cost as much as the rest


class ResidualBlock(nn.Module):
    """``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`` (He et al. 2016, arXiv 1512.03385).

    The shortcut is the identity where shapes agree, else a 1x1 convolution with its own ``BatchNorm2d``.

    Shape:
        - Input: (N, C_in, H, W)
        - Output: (N, C_out, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, three stages of one residual block, global average pooling and a linear layer; 9 BN layers.

    Channels w, 2w, 4w at strides 1, 2, 2. The stem is a 3x3 convolution with ``BatchNorm2d``, of stride 2 for images of
    32 pixels or more on both sides. It has 78,042 parameters for CIFAR-10 at the default width of 16.

    Shape:
        - Input: (N, C, H, W)
        - Output: (N, K), logits

    >>> net = ResNet(input_shape=(3, 32, 32), num_classes=10)
    >>> sum(p.numel() for p in net.parameters()), sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    (78042, 9)
    """

    def __init__(self, *, input_shape: tuple[int, int, int], num_classes: int, width: int = 16) -> None:
        super().__init__()
        channels, height, width_pixels = input_shape
        stride = 2 if min(height, width_pixels) >= _STEM_STRIDE_FROM else 1
        self.conv = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )
        self.fc = nn.Linear(4 * width, num_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        x = self.stages(F.relu(self.bn(self.conv(images))))
        return cast("Tensor", self.fc(x.mean(dim=(2, 3))))
