"""Single neurons of a trained net: shape of their inputs, correlation between them, and what the net loses without one.

A neuron is a channel of a BN layer: its pre-activation is the layer's input, and ablating it sets the layer's output to 0 in
that channel, which a ReLU passes on as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.train import ImageData, evaluate

__all__ = ["measure_neurons", "pre_activation_moments"]

_SHAPE_IMAGES = 1000
_ABLATION_IMAGES = 500
_ABLATIONS = 64  # channels of the whole net that are ablated one at a time, the same number of each layer
_SHARES = (0.125, 0.25, 0.5)  # of every layer's channels, ablated together
_DRAWS = 4


def measure_neurons(model: nn.Module, train: ImageData, test: ImageData) -> dict[str, Any]:
    """Measure neurons of a net in eval mode; the net comes back as it was.

    Args:
        model: a trained net with BN layers, whose running statistics are the population's.
        train: up to 1,000 of these images give kurtosis and correlation.
        test: up to 500 of these images give the loss with neurons ablated.

    Returns:
        ``layers``, one dict per BN layer with ``layer`` (its name), ``kurtosis`` (excess, median over channels),
        ``kurtosis_mean``, ``correlation`` (mean of its absolute value over pairs of channels), ``loss_increase`` and
        ``accuracy_drop`` (mean over evenly spaced channels, 64 in the whole net, each ablated alone), ``loss_increase_max``;
        ``together``, one dict per share of all channels ablated at random with ``share``, ``loss`` and ``accuracy`` (mean over
        4 draws); ``loss`` and ``accuracy`` of the intact net on the same images.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    shapes = _shapes(model, names, _some(train, _SHAPE_IMAGES).images)
    some = _some(test, _ABLATION_IMAGES)
    intact = evaluate(model, some)
    per_layer = max(2, _ABLATIONS // len(names))
    layers = []
    for name in names:
        count = _layer(model, name).num_features
        chosen = torch.linspace(0, count - 1, min(count, per_layer)).round().long()
        ablated = []
        for channel in chosen:
            with _ablated(model, {name: channel.view(1)}):
                ablated.append(evaluate(model, some))
        increases = [found.cross_entropy - intact.cross_entropy for found in ablated]
        drops = [intact.accuracy - found.accuracy for found in ablated]
        loss = {"loss_increase": sum(increases) / len(increases), "loss_increase_max": max(increases)}
        layers.append({"layer": name, **shapes[name], **loss, "accuracy_drop": sum(drops) / len(drops)})
    together = [_together(model, names, share, some) for share in _SHARES]
    return {"layers": layers, "together": together, "loss": intact.cross_entropy, "accuracy": intact.accuracy}


def pre_activation_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Excess kurtosis, (C,), and correlation matrix, (C, C), of pre-activations (N, C, ...) over samples and pixels.

    Channels that do not vary are left out.
    """
    values = x.detach().transpose(0, 1).flatten(1).double()  # (C, N pixels)
    values = values - values.mean(1, keepdim=True)
    variance = values.square().mean(1)
    values = values[variance > 0] / variance[variance > 0].sqrt().unsqueeze(1)
    return values.pow(4).mean(1) - 3, values @ values.T / values.shape[1]


def _some(data: ImageData, count: int) -> ImageData:
    """At most ``count`` of the images, the same ones each time."""
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:count]
    return replace(data, images=data.images[rows], labels=data.labels[rows])


def _shapes(model: nn.Module, names: list[str], images: Tensor) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}

    def look(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            kurtosis, correlation = pre_activation_moments(inputs[0])
            pairs = correlation.abs().sum() - correlation.diagonal().abs().sum()
            count = len(kurtosis)
            found[name] = {
                "kurtosis": float(kurtosis.median()),
                "kurtosis_mean": float(kurtosis.mean()),
                "correlation": float(pairs / max(1, count * (count - 1))),
            }

        return hook

    handles = [_layer(model, name).register_forward_pre_hook(look(name)) for name in names]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(images.to(next(model.parameters()).device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def _together(model: nn.Module, names: list[str], share: float, images: ImageData) -> dict[str, float]:
    """Loss and accuracy with that share of the channels of every layer ablated, mean over draws."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(_DRAWS):
        channels = {}
        for name in names:
            count = _layer(model, name).num_features
            channels[name] = torch.randperm(count, generator=generator)[: round(share * count)]
        with _ablated(model, channels):
            found.append(evaluate(model, images))
    loss = sum(one.cross_entropy for one in found) / _DRAWS
    return {"share": share, "loss": loss, "accuracy": sum(one.accuracy for one in found) / _DRAWS}


@contextmanager
def _ablated(model: nn.Module, channels: Mapping[str, Tensor]) -> Iterator[None]:
    """Within this context these channels of these layers put out 0."""

    def silence(rows: Tensor) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            return output.index_fill(1, rows.to(output.device), 0.0)

        return hook

    handles = [_layer(model, name).register_forward_hook(silence(rows)) for name, rows in channels.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(model: nn.Module, name: str) -> _BatchNorm:
    layer = model.get_submodule(name)
    assert isinstance(layer, _BatchNorm)  # noqa: S101 - names are of such layers
    return layer
