"""The one way in which experiments build, train and evaluate a net."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

import bnlens.nn
from bnlens.conversion import convert
from bnlens.train import History, ImageData, build_net, evaluate, fit

__all__ = ["POPULATION", "Penalty", "build", "losses", "train"]

POPULATION = "inf"  # JSON has no infinity
Penalty = Callable[[nn.Module, int], Any]
"""From a model of population layers, and the M that it stands for, to a regulariser of `bnlens.nn`."""


def build(
    images: ImageData,
    net: str,
    *,
    seed: int,
    norm: Literal["bn", "none"] = "bn",
    dropout: float = 0.0,
    prepare: Callable[[nn.Module], object] | None = None,
) -> nn.Module:
    """Build a net for these images whose BN layers have a statistics batch size.

    Args:
        images: their shape and number of classes.
        net: name of the net, see `bnlens.train.build_net`.
        seed: of the initial weights.
        norm: ``"bn"``, or ``"none"`` for a net without BN layers.
        dropout: probability, before the last layer.
        prepare: turns the BN layers into layers of `bnlens.nn`, in place; `bnlens.convert` when not given.
    """
    model = build_net(
        net, input_shape=images.input_shape, num_classes=images.num_classes, norm=norm, dropout=dropout, seed=seed
    )
    if norm != "none":
        (prepare or convert)(model)
    return model


def train(
    model: nn.Module,
    images: ImageData,
    *,
    statistics_batch_size: float | str,
    penalty: Penalty | None = None,
    **arguments: Any,
) -> History:
    """Train a net in place and return its history.

    Args:
        model: of :func:`build`.
        images: the training images.
        statistics_batch_size: M, an int or ``"inf"``; with a penalty, the M that it stands for, on population layers.
        penalty: makes the regulariser, if there is one.
        **arguments: further ones of `bnlens.train.fit`.
    """
    M = math.inf if statistics_batch_size == POPULATION else int(statistics_batch_size)
    regulariser = None
    if penalty is not None:
        bnlens.nn.set_statistics_batch_size(model, math.inf)
        regulariser, M = penalty(model, int(M)), math.inf
    return fit(model, images, statistics_batch_size=M, regulariser=regulariser, **arguments)


def losses(model: nn.Module, images: ImageData, test: ImageData) -> dict[str, Any]:
    """Return how well a trained net does, in eval mode, as JSON data.

    Returns:
        ``data``, ``images`` and ``test_images``; ``train_loss`` and ``test_loss`` (cross-entropy, nats per image),
        ``train_accuracy`` and ``test_accuracy``; ``gamma``, the root mean square by layer.
    """
    of_train, of_test = evaluate(model, images), evaluate(model, test)
    layers = [module for module in model.modules() if isinstance(module, bnlens.nn.DialBatchNorm)]
    return {
        "data": images.name,
        "images": len(images),
        "test_images": len(test),
        "train_loss": of_train.cross_entropy,
        "train_accuracy": of_train.accuracy,
        "test_loss": of_test.cross_entropy,
        "test_accuracy": of_test.accuracy,
        "gamma": [float(layer.weight.detach().square().mean().sqrt()) for layer in layers],
    }
