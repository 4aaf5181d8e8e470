"""A net trained with one BN layer at another statistics batch size than the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["count_layers", "train_with_one_layer"]


def count_layers(net: str) -> int:
    """Return how many BN layers a net has."""
    from torch.nn.modules.batchnorm import _BatchNorm

    from bnlens.train import build_net

    model = build_net(net, input_shape=(1, 8, 8), num_classes=2)
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


def train_with_one_layer(
    *,
    net: str,
    data: str,
    samples: int,
    layer: int | None,
    others: int | str,
    statistics_batch_size: int | str,
    device_batch_size: int,
    seed: int,
    **recipe: Any,
) -> dict[str, Any]:
    """Train one net with one BN layer over M images and the other layers over another number, and evaluate it.

    The seed sets the initial weights, which images are trained on and their order, and nothing else does: runs of one
    seed that differ in how they normalise are pairs.

    Args:
        net: name of the net, see `bnlens.train.build_net`.
        data: ``"digits"`` or the folder of CIFAR-10.
        samples: training images, the same number of each class.
        layer: number of the layer, from 0, in the order of the model; None where M is that of all layers.
        others: statistics batch size of the other layers, an int or ``"inf"``.
        statistics_batch_size: M, an int or ``"inf"``.
        device_batch_size: images per forward pass, at least as many as each finite statistics batch size.
        seed: see above.
        **recipe: ``epochs``, ``batch_size``, ``lr`` and ``augment``, see `bnlens.train.fit`.

    Returns:
        See `bnlens.experiments._training.losses`.
    """
    from bnlens.conversion import convert
    from bnlens.experiments._training import build, losses, train
    from bnlens.nn import DialBatchNorm, set_statistics_batch_size
    from bnlens.train import load_data

    def prepare(model: nn.Module) -> None:
        convert(model, statistics_batch_size=_size(others))
        layers = [module for module in model.modules() if isinstance(module, DialBatchNorm)]
        set_statistics_batch_size(model if layer is None else layers[layer], _size(statistics_batch_size))

    images, test = load_data(data, samples=samples, seed=seed), load_data(data, split="test")
    model = build(images, net, seed=seed, prepare=prepare)
    # Without device_batch_size fit leaves the layers' sizes as they are.
    train(model, images, statistics_batch_size=device_batch_size, seed=seed, **recipe)
    return losses(model, images, test)


def _size(statistics_batch_size: int | str) -> float:
    from bnlens.experiments._training import POPULATION

    return math.inf if statistics_batch_size == POPULATION else int(statistics_batch_size)
