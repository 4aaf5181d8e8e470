"""Cross-entropy and accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnlens._arguments import Count, checked
from bnlens.errors import ModelError
from bnlens.train.data import ImageData, loader

__all__ = ["Evaluation", "cross_entropy", "device_of", "evaluate", "evaluating", "restored_modes"]


@dataclass(frozen=True)
class Evaluation:
    """The cross-entropy and accuracy of a classifier on some data.

    Attributes:
        cross_entropy: mean over the images, nats per sample.
        accuracy: share of the images whose largest logit is the label's, 0 to 1.
        samples: number of images.
    """

    cross_entropy: float
    accuracy: float
    samples: int


@checked
def evaluate(model: nn.Module, data: ImageData, *, batch_size: Count = 500) -> Evaluation:
    """Return the mean cross-entropy and the accuracy in eval mode, that is with the running statistics.

    The model is handed back in the mode it came in.

    Args:
        model: maps images (N, C, H, W) to logits (N, K); stays on its device.
        data: images whose classes are at most K.
        batch_size: images per forward pass; the result does not depend on it.

    Raises:
        ModelError: the output is not (N, K) with K of at least the number of classes.
    """
    device = device_of(model)
    loss, correct = 0.0, 0
    with evaluating(model):
        for images, labels in loader(data, batch_size):
            logits, labels = model(images.to(device)), labels.to(device)
            loss += cross_entropy(logits, labels, data).item() * len(labels)
            correct += int((logits.argmax(dim=1) == labels).sum())
    return Evaluation(loss / len(data), correct / len(data), len(data))


def cross_entropy(logits: Tensor, labels: Tensor, data: ImageData) -> Tensor:
    """Return the mean cross-entropy of ``logits`` (N, K) at ``labels`` (N,) of ``data``, nats per sample, a scalar.

    Raises:
        ModelError: ``logits`` does not fit the labels.
    """
    if logits.ndim != 2 or len(logits) != len(labels) or logits.shape[1] < data.num_classes:
        raise ModelError(
            f"the model's output has shape {tuple(logits.shape)} for {len(labels)} images of {data.name}; "
            f"it must be one row of logits for each image, at least {data.num_classes} of them"
        )
    return F.cross_entropy(logits.float(), labels)


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's first parameter or buffer lies."""
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this context every module is in eval mode, set module by module, as ``model.eval()`` may do more."""
    with restored_modes(model), torch.no_grad():
        for module in model.modules():
            module.training = False
        yield


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Give every module back the mode, train or eval, that it had."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
