"""Residual nets for CIFAR of any depth 6n + 2, whose blocks normalise before each convolution."""

from __future__ import annotations

from typing import Annotated, cast

from torch import Tensor, nn
from torch.nn import functional as F

from bnlens._arguments import Count, Range, checked
from bnlens.train.nets import normalization
from bnlens.train.nets.normalization import Dropout, ImageShape, Norm, conv, make_norm

__all__ = ["PreActivationBlock", "PreActivationResNet"]

_STAGES = 3


class PreActivationBlock(nn.Module):
    """``conv2(relu(bn2(conv1(a)))) + shortcut`` with ``a = relu(bn1(x))`` (He et al. 2016, arXiv 1603.05027).

    The shortcut is x itself; in the first block of a stage (``shared``) it is a, every stride-th pixel of it, with channels of
    zeros where the block has more outputs than inputs. It has no parameters.

    Shape:
        - Input: (N, C_in, H, W)
        - Output: (N, C_out, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, shared: bool = False, norm: Norm = "bn") -> None:
        super().__init__()
        self.bn1 = make_norm(norm, inputs)
        self.conv1 = conv(inputs, outputs, norm, stride=stride)
        self.bn2 = make_norm(norm, outputs)
        self.conv2 = conv(outputs, outputs, norm)
        self.stride, self.added_channels, self.shared = stride, outputs - inputs, shared

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        a = F.relu(self.bn1(x))
        shortcut = a if self.shared else x
        if self.stride != 1:
            shortcut = shortcut[:, :, :: self.stride, :: self.stride]
        if self.added_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added_channels))
        return cast("Tensor", self.conv2(F.relu(self.bn2(self.conv1(a))))) + shortcut

    def extra_repr(self) -> str:
        """Return the settings that the layers inside do not show."""
        return f"stride={self.stride}, added_channels={self.added_channels}, shared={self.shared}"


class PreActivationResNet(nn.Module):
    """Stem, three stages of n pre-activation blocks, BN, ReLU, global average pooling, a linear layer; depth 6n + 2.

    The net for CIFAR of He et al. 2016 (arXiv 1603.05027): a 3x3 stem without BN, channels w, 2w, 4w at strides 1, 2, 2. The
    first block of each stage shares its first activation with its shortcut, and one more BN with ReLU follows the last
    block. 6n + 1 BN layers. At the default width of 16, three input channels and ten classes it has ``97,216 n - 21,926``
    parameters: 75,290 (depth 8), 172,506 (14), 269,722 (20).

    Arguments and shapes are those of `build_net`.

    >>> net = PreActivationResNet(depth=20, input_shape=(3, 32, 32), num_classes=10)
    >>> sum(p.numel() for p in net.parameters()), sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    (269722, 19)
    """

    @checked
    def __init__(
        self,
        *,
        depth: Annotated[int, Range(8)],
        input_shape: ImageShape,
        num_classes: Count,
        width: Count = 16,
        norm: Norm = "bn",
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.conv = conv(input_shape[0], width, norm)
        blocks: list[PreActivationBlock] = []
        inputs = width
        for stage in range(_STAGES):
            outputs = width * 2**stage
            for number in range((depth - 2) // (2 * _STAGES)):
                first = number == 0
                stride = 2 if stage and first else 1
                blocks.append(PreActivationBlock(inputs, outputs, stride, shared=first, norm=norm))
                inputs = outputs
        self.stages = nn.Sequential(*blocks)
        self.bn = make_norm(norm, inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, num_classes)
        normalization.initialize_convolutions(self)
        if norm == "none":
            normalization.start_residual_branches([[block.conv1, block.conv2] for block in blocks])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K)."""
        x = F.relu(self.bn(self.stages(self.conv(images))))
        return cast("Tensor", self.fc(self.dropout(x.mean(dim=(2, 3)))))
