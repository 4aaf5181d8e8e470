"""The nets of the experiments, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from bnlens.errors import UsageError
from bnlens.train.nets.cnn import CNN
from bnlens.train.nets.mlp import MLP
from bnlens.train.nets.resnet import ResNet

__all__ = ["CNN", "MLP", "NETS", "ResNet", "build_net"]

NETS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({"mlp": MLP, "cnn": CNN, "resnet": ResNet})
"""Name to class; each takes ``input_shape``, ``num_classes`` and ``width``."""


def build_net(
    name: str, *, input_shape: tuple[int, int, int], num_classes: int, width: int | None = None, seed: int = 0
) -> nn.Module:
    """Build one of the nets; convolutions start from He's normal law, linear layers from PyTorch's default.

    Args:
        name: ``"mlp"``, ``"cnn"`` or ``"resnet"``.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        width: channels of the first block (units of each layer for ``"mlp"``); the net's own choice when not given.
        seed: of the initial weights; torch's global generator is left as it was.

    Raises:
        UsageError: the name is unknown, or a size is below 1.

    >>> net = build_net("cnn", input_shape=(3, 32, 32), num_classes=10)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if name not in NETS:
        nearest = difflib.get_close_matches(name.lower(), NETS, n=1, cutoff=0.0)[0]
        raise UsageError(f"there is no net {name!r}; did you mean {nearest!r} (of {', '.join(NETS)})?")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UsageError(f"input_shape must be (C, H, W), each at least 1, got {tuple(input_shape)}")
    if num_classes < 1 or (width is not None and width < 1):
        raise UsageError(f"num_classes and width must be at least 1, got {num_classes} and {width}")
    options = {} if width is None else {"width": width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETS[name](input_shape=input_shape, num_classes=num_classes, **options)
