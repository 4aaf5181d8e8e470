"""Masks on whole models: the valid values of a padded batch, in every layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn

from bnlens._arguments import checked
from bnlens._masks import BatchMask, Mask
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._controls import layers_of, refuse_plain_layers
from bnlens.nn._scope import scoped

__all__ = ["masked"]


@checked
@contextmanager
def masked(model: nn.Module, mask: Mask) -> Iterator[None]:
    r"""Leave padding out of the statistics of all BN layers, for the forward passes of one batch inside this context.

    Statistics are those of the valid values, in every regime: of the batch, its ghost groups, a window, shared statistics, over
    ranks. The m samples at hand are those with a valid value. Running statistics take Bessel's correction for the number of
    valid values. Padding is normalised too, by the statistics of its sample's group, and the gradient is that of this
    definition: what reaches the output at padding flows to gamma, beta and, through the statistics, to valid values. In eval
    mode the output is torch's. A layer alone takes ``layer(x, mask=mask)``.

    Inside, a layer is a graph break while the model is compiled. With activation checkpointing the backward pass belongs inside
    too, and with ``sync`` every rank gives a mask.

    Args:
        model: a model with bnlens layers; or one layer. It may enter the context in its own ``forward``.
        mask: one of

            - a tensor, True (or 1) at valid values, (N, ...) or (N, 1, ...) with the sizes of the model's input behind the
              channels, so (N, L) for (N, C, L). A layer of another size takes it if one size divides the other: a step of a
              shorter layer is valid if any of the steps that it stands for is, those of a longer one are repeated. A
              convolution without padding leaves such sizes only by chance; give a function for it.
            - lengths, (N,) of an int type, in steps along the last dimension of the first BN layer that has any.
            - a function ``(layer name, input) -> mask`` of either kind, in the layer's own sizes, or None where all count.

            A layer with input (N, C) leaves out samples without a valid value.

    Raises:
        UsageError: the model has no bnlens layer, or another library's BN layer; or, in training, the mask does not fit a
            layer, leaves it less than two values per channel, or an explicit regulariser watches.

    Example:
        >>> import torch, bnlens.nn
        >>> layer = bnlens.nn.BatchNorm1d(1, momentum=1.0)
        >>> with masked(layer, torch.tensor([3, 1])):
        ...     _ = layer(torch.tensor([[[1.0, 2.0, 3.0]], [[6.0, 0.0, 0.0]]]))
        >>> layer.running_mean.item(), round(layer.running_var.item(), 4)
        (3.0, 4.6667)
    """
    layers_of(model)
    refuse_plain_layers(model, "would count padding", "give it a mask (bnlens.report and recalibrate take one without)")
    batch = BatchMask(mask)
    layers = {module: name for name, module in model.named_modules() if isinstance(module, DialBatchNorm)}
    with scoped({layer: {"mask": partial(batch.of, name or "(model)")} for layer, name in layers.items()}):
        yield
