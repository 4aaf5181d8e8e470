"""Images whose strides do not tell their layout: for them torch's kernels on a CPU may write a wrong gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.nn._graphs import is_tracing

__all__ = ["are_open", "with_plain_gradient", "with_plain_strides"]


def are_open(x: Tensor) -> bool:
    """Return whether the strides of images (N, C, H, W) or (N, C, D, H, W) need not tell their order: a size is 1.

    Its stride is any number, as after ``x.transpose(1, 2).unsqueeze(-1)`` of (N, L, C). The backward kernel of batch
    normalization may then take input and gradient for tensors of one order, which they are not. Compiled code has others.
    """
    return not torch.compiler.is_compiling() and x.ndim > 3 and 1 in x.shape and not is_tracing()


def with_plain_strides(x: Tensor) -> Tensor:
    """Return ``x``; if its channels are last in memory, with the strides of this order."""
    if x.is_contiguous():
        return x
    last = x.movedim(1, -1)
    return last.reshape(-1).view(last.shape).movedim(-1, 1) if last.is_contiguous() else x


def with_plain_gradient(y: Tensor) -> Tensor:
    """Return ``y``, whose gradient will come with such strides."""
    if y.requires_grad:
        y.register_hook(lambda gradient: None if gradient is None else with_plain_strides(gradient))  # type: ignore[no-untyped-call]
    return y
