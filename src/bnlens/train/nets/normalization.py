"""The convolutions and normalization layers of a net, and how they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import torch
from torch import nn

from bnlens._arguments import Count, Range

__all__ = [
    "Dropout",
    "ImageShape",
    "Norm",
    "conv",
    "has_bias",
    "initialize_convolutions",
    "make_norm",
    "start_residual_branches",
]

ImageShape: TypeAlias = tuple[Count, Count, Count]
"""(C, H, W)."""
Dropout: TypeAlias = Annotated[float, Range(0, 1, below=True)]
"""A share of what is dropped."""
Norm: TypeAlias = Literal["bn", "none"] | Callable[[int], nn.Module]
"""``"bn"``, ``"none"``, or a function from the number of features to a layer."""


def make_norm(norm: Norm, features: int, *, dimensions: int = 2) -> nn.Module:
    """Return the layer after (or before) a convolution or linear layer of ``features`` channels or units.

    That is torch's ``BatchNorm2d`` (``BatchNorm1d`` for ``dimensions`` 1, where features are single numbers), ``nn.Identity``,
    or what the function gives.
    """
    if callable(norm):
        return norm(features)
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm1d(features) if dimensions == 1 else nn.BatchNorm2d(features)


def has_bias(norm: Norm) -> bool:
    """Return whether layers before the norm have biases: only where nothing centres their outputs and adds a shift."""
    return norm == "none"


def conv(inputs: int, outputs: int, norm: Norm, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the image's size but for the stride."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=has_bias(norm))


def initialize_convolutions(model: nn.Module) -> None:
    """Draw the weights of every ``Conv2d`` from N(0, 2 / fan_in) (He et al. 2015, arXiv 1502.01852), in place.

    BN makes the output blind to their scale but not the training: the step in direction is the learning rate over the
    squared norm, and PyTorch's default, six times smaller in square, is noisier at the learning rates used here. Without
    normalization this law keeps the activations' mean square from layer to layer; biases, where there are any, start at
    zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def start_residual_branches(branches: list[list[nn.Conv2d]]) -> None:
    """Start a residual net without normalization so that its depth does not make activations or gradients grow.

    The last convolution of each branch is zero and the others are divided by ``L^(1 / (2 m - 2))``, for L branches of m
    convolutions (Fixup, Zhang et al. 2019, arXiv 1901.09321, without its scalars): every block starts as its shortcut.
    """
    for *first, last in branches:
        nn.init.zeros_(last.weight)
        for layer in first:
            layer.weight /= len(branches) ** (1 / (2 * len(first)))
