"""A net ready to be measured: built by name or given, with weights from a file or from a short training."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from torch import nn

from bnlens._arguments import Seed, Whole, checked
from bnlens.errors import DataError, ModelError
from bnlens.train.checkpoint import load_checkpoint
from bnlens.train.data import ImageData
from bnlens.train.evaluate import device_of, evaluating
from bnlens.train.fit import fit
from bnlens.train.nets import build_net

__all__ = ["ready_net"]

_GROUP = 16  # images that BN sees at once
_BATCH = 256  # at most


@checked
def ready_net(
    model: str | nn.Module,
    data: ImageData,
    *,
    name: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    steps: Whole = 0,
    seed: Seed = 0,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    progress: bool = False,
) -> nn.Module:
    """Return a classifier of ``data`` that is worth measuring: one without training has hardly a gap to speak of.

    Args:
        model: name of a net, see `build_net`, or a net, which is returned itself.
        data: images to train on, or to try a given net on.
        name: what errors call a given net; its class when not given.
        checkpoint: file of weights, see `load_checkpoint`.
        steps: length of the training of a net given by name, if there is no checkpoint: SGD at a rate of 0.1, batches of up to
            256 images, statistics of BN over 16.
        seed: of initial weights and training.
        forward: runs a given net on a batch (images, labels), if it is not called on images.
        progress: whether to show how far the training is on standard error.

    Raises:
        UsageError: there is no net of that name.
        ModelError: a given net cannot be run on two of the images or is on the meta device, or a checkpoint does not fit.
        DataError: the checkpoint cannot be read, or there are fewer than 16 images to train on.
        LossError: the training diverges.
    """
    if isinstance(model, nn.Module):
        _check_runs(model, data, name or type(model).__name__, forward)
        net = model
    else:
        net = build_net(model, input_shape=data.input_shape, num_classes=data.num_classes, seed=seed)
    if checkpoint is not None:
        load_checkpoint(net, checkpoint)
    elif net is not model and steps:
        if len(data) < _GROUP:
            raise DataError(
                f"there are {len(data)} images, fewer than the {_GROUP} over which BN is trained; give at least {_GROUP}, or a "
                "checkpoint"
            )
        batch = max(_GROUP, min(_BATCH, len(data) // _GROUP * _GROUP))
        fit(
            net, data, statistics_batch_size=_GROUP, batch_size=batch, steps=steps, lr=0.1, seed=seed, progress=progress
        )
    return net


def _check_runs(
    network: nn.Module, data: ImageData, name: str, forward: Callable[[nn.Module, Any], Any] | None
) -> None:
    """Run a net on two images, in eval mode, before long work is done with it."""
    weights = [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
    if any(tensor.is_meta for tensor in weights):
        raise ModelError(f"{name!r} is on the meta device, which holds no weights; build it on the CPU")
    if other := {tensor.dtype for tensor in weights} - {data.images.dtype} if forward is None else set():
        kind = str(other.pop()).removeprefix("torch.")
        raise ModelError(f"{name!r} has weights of {kind} where the images are float32; call .float() on it")
    with evaluating(network):
        try:
            images, labels = data.images[:2].to(device_of(network)), data.labels[:2].to(device_of(network))
            network(images) if forward is None else forward(network, (images, labels))
        except Exception as error:
            shape = "x".join(map(str, data.input_shape))
            cause = " ".join(str(error).split())
            raise ModelError(
                f"{name!r} cannot be run on images of {shape} ({type(error).__name__}: {cause}); give a model for such images"
            ) from error
