"""The nets of the experiments, by name."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from bnlens._arguments import Count, Seed, checked
from bnlens._names import nearest
from bnlens.errors import UsageError
from bnlens.train.nets.cnn import CNN
from bnlens.train.nets.mlp import MLP
from bnlens.train.nets.normalization import Dropout, ImageShape, Norm
from bnlens.train.nets.preactivation import PreActivationResNet
from bnlens.train.nets.resnet import ResNet, ResNet18

__all__ = ["CNN", "MLP", "NETS", "PreActivationResNet", "ResNet", "ResNet18", "build_net", "check_net"]

NETS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "mlp": MLP,
        "cnn": CNN,
        "cnn-fc": functools.partial(CNN, hidden=64),
        "resnet": ResNet,
        **{f"resnet{depth}": functools.partial(PreActivationResNet, depth=depth) for depth in (8, 14, 20, 32, 56, 110)},
        "resnet18": ResNet18,
    }
)
"""Name to class; each takes ``input_shape``, ``num_classes``, ``width``, ``norm`` and ``dropout``. `build_net` knows
``resnetD`` for every depth D = 6n + 2 but those of ImageNet's nets, these are the usual ones."""

_OF_IMAGENET = ("resnet34", "resnet50", "resnet101", "resnet152")  # other nets than those of depth 6n + 2
_DEPTH = re.compile(r"resnet(\d+)")


@checked
def build_net(
    name: str,
    *,
    input_shape: ImageShape,
    num_classes: Count,
    width: Count | None = None,
    norm: Norm = "bn",
    dropout: Dropout = 0.0,
    seed: Seed = 0,
) -> nn.Module:
    """Build one of the nets; convolutions start from He's normal law, linear layers from PyTorch's default.

    Args:
        name: ``"mlp"``, ``"cnn"``, ``"cnn-fc"`` (with a hidden linear layer of 64 units), ``"resnet"`` (9 BN layers, made for
            speed), ``"resnet8"``, ``"resnet14"``, ``"resnet20"`` and so on (pre-activation, of depth 6n + 2), or ``"resnet18"``
            (for images of 32 pixels).
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        width: channels of the first block (units of each layer for ``"mlp"``); the net's own choice when not given.
        norm: ``"bn"``; ``"none"``, which gives biases to the layers before it and starts residual branches at zero; or a
            function from the number of features to a layer, such as ``lambda features: nn.GroupNorm(4, features)``.
        dropout: share of the inputs of the last layer that are dropped in training.
        seed: of the initial weights; torch's global generator is left as it was.

    Shape of the net's input and output:
        (N, C, H, W) and (N, K), logits.

    Raises:
        UsageError: the name or ``norm`` is unknown, a depth is not 6n + 2, or a size or ``dropout`` is out of range.

    >>> net = build_net("cnn", input_shape=(3, 32, 32), num_classes=10)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    net = _find(name)
    options = {} if width is None else {"width": width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return net(input_shape=input_shape, num_classes=num_classes, norm=norm, dropout=dropout, **options)


@checked
def check_net(name: str) -> None:
    """Raise where `build_net` would for that name.

    Raises:
        UsageError: there is no such net, or its depth is not 6n + 2.
    """
    _find(name)


def _find(name: str) -> Callable[..., nn.Module]:
    if name in NETS:
        return NETS[name]
    known = ", ".join(NETS)
    if name.lower() in _OF_IMAGENET:
        raise UsageError(
            f"there is no net {name!r}, which is one for ImageNet; give a model of your own, such as "
            f"torchvision.models:{name.lower()} on the command line, or one of {known}"
        )
    match = _DEPTH.fullmatch(name.lower())
    if match is None:
        near = nearest(name, NETS, cutoff=0.0)
        raise UsageError(f"there is no net {name!r}; did you mean {near!r} (of {known})?")
    depth = int(match[1])
    n = max(1, (depth - 2) // 6)
    if name == f"resnet{depth}" and depth == 6 * n + 2:
        return functools.partial(PreActivationResNet, depth=depth)
    below, above = 6 * n + 2, 6 * n + 8
    nearest_depths = f"'resnet{below}'" if depth <= below else f"'resnet{below}' and 'resnet{above}'"
    raise UsageError(
        f"there is no net {name!r}: pre-activation nets have a depth of 6n + 2, nearest: {nearest_depths}; "
        "'resnet18' alone has another layout"
    )
