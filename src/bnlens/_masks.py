"""Masks: which values of a layer's input count, where samples are padded to one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from bnlens.errors import UsageError

__all__ = ["BatchMask", "Mask", "valid_values"]

Mask: TypeAlias = Tensor | Callable[[str, Tensor], Tensor | None]
"""Valid values or lengths of padded samples, or a function of a layer's name and input that tells them; see `bnlens.masked`."""


class BatchMask:
    """The valid values of one batch, in each layer that it comes to.

    Args:
        mask: see `bnlens.masked`. Lengths count the steps of the first layer that has any.

    Raises:
        UsageError: it is neither a tensor nor a function.
    """

    def __init__(self, mask: Any) -> None:
        if not isinstance(mask, Tensor) and not callable(mask):
            raise UsageError(
                f"the mask is of type {type(mask).__name__}; give a bool tensor that is True at valid values, lengths (an int "
                "tensor, one for each sample), or a function (layer name, input) -> mask"
            )
        self._mask: Mask = mask
        self._steps = 0  # that lengths count; 0 until a layer tells

    def of(self, name: str, x: Tensor) -> Tensor | None:
        """Return which values of the input of layer ``name`` count, (N, 1, ...); None where all do.

        Raises:
            UsageError: see `valid_values`.
        """
        mask, where = self._mask, f"layer {name!r}"
        if not isinstance(mask, Tensor):
            given = mask(name, x)
            return None if given is None else valid_values(given, x, where)
        if _are_lengths(mask) and x.ndim > 2:
            self._steps = self._steps or x.shape[-1]
            mask = _prefixes(mask, self._steps, x.ndim - 2, where)
        return valid_values(mask, x, where, resize=True)


def valid_values(given: Any, x: Tensor, where: str, *, resize: bool = False) -> Tensor:
    """Return which values of ``x`` (N, C, ...) count, bool, (N, 1, ...) with the sizes of ``x``.

    Args:
        given: the mask, True or 1 at valid values: (N, ...) or (N, 1, ...) with the sizes of ``x`` or 1; (N,) for whole
            samples; or lengths, (N,) of an int type, along the last dimension. An input (N, C) has the samples with any valid
            value.
        x: the layer's input.
        where: the layer, in messages.
        resize: whether sizes of the mask may be multiples of those of ``x``, whose values count if any that they stand for
            does, or divisors, whose values are repeated.

    Raises:
        UsageError: the mask does not fit ``x``, or holds other values than 0 and 1.
    """
    if not isinstance(given, Tensor) or not given.ndim or len(given) != len(x):
        found = f"of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise UsageError(
            f"{where} has an input of {len(x)} samples, shape {tuple(x.shape)}, and the mask is {found}; give a tensor with "
            "one row per sample, or a function (layer name, input) -> mask where layers differ"
        )
    mask: Tensor = given.detach().to(x.device)
    if _are_lengths(mask):
        mask = _prefixes(mask, x.shape[-1], x.ndim - 2, where) if x.ndim > 2 else mask > 0
    elif mask.dtype != torch.bool:
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise UsageError(
                f"the mask of {where} has other values than 0 and 1; give a bool tensor, True at valid values"
            )
        mask = mask != 0
    if x.ndim == 2:
        return mask.reshape(len(x), mask[:1].numel()).any(1, keepdim=True)
    if mask.ndim == 1:
        mask = mask.view(-1, *(1 for _ in x.shape[2:]))
    elif mask.ndim == x.ndim and mask.shape[1] == 1:
        mask = mask.squeeze(1)
    if mask.ndim != x.ndim - 1:
        raise _misfit(mask, x, where)
    for dim, size in enumerate(x.shape[2:], start=1):
        own = mask.shape[dim]
        if own in (1, size):
            continue
        if not resize or not size or (own % size and size % own):
            raise _misfit(mask, x, where)
        steps = own // size  # of the mask, for one of x; 0 where x has more
        mask = (
            mask.reshape(*mask.shape[:dim], size, steps, *mask.shape[dim + 1 :]).any(dim + 1)
            if steps
            else mask.repeat_interleave(size // own, dim)
        )
    return mask.unsqueeze(1).expand(len(x), 1, *x.shape[2:])


def _are_lengths(mask: Tensor) -> bool:
    return mask.ndim == 1 and mask.dtype != torch.bool and not mask.dtype.is_floating_point


def _prefixes(lengths: Tensor, steps: int, sizes: int, where: str) -> Tensor:
    """Return the mask of lengths along the last of so many sizes, (N, 1, ..., steps)."""
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        wrong = int(lengths.min()) if lengths.min() < 0 else int(lengths.max())
        raise UsageError(
            f"{where} has {steps} steps and a length is {wrong}; give lengths in steps of this layer, or a bool mask of the "
            "model's padded input, which is brought to each layer's size"
        )
    mask = torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)
    return mask.view(-1, *(1 for _ in range(sizes - 1)), steps)


def _misfit(mask: Tensor, x: Tensor, where: str) -> UsageError:
    return UsageError(
        f"{where} has an input of shape {tuple(x.shape)}, which a mask of shape {tuple(mask.shape)} does not fit; give "
        "(N, ...) or (N, 1, ...) with the layer's sizes, divisors or multiples of them in bnlens.masked, or there a function "
        "(layer name, input) -> mask"
    )
