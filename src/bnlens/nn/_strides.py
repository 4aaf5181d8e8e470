"""Images whose strides do not tell their layout: for them torch's kernels on a CPU may write a wrong gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.nn._graphs import is_tracing

__all__ = ["with_plain_gradient", "with_plain_strides"]


def with_plain_strides(x: Tensor) -> Tensor:
    """Return ``x`` (N, C, H, W) or (N, C, D, H, W); if its channels are last in memory, with the strides of this order.

    Where a size is 1 its stride is any number, as after ``x.transpose(1, 2).unsqueeze(-1)`` of (N, L, C). The backward kernel
    of batch normalization may then take input and gradient for tensors of one order, which they are not.
    """
    if not _is_open(x) or x.is_contiguous():
        return x
    last = x.movedim(1, -1)
    return last.reshape(-1).view(last.shape).movedim(-1, 1) if last.is_contiguous() else x


def with_plain_gradient(y: Tensor) -> Tensor:
    """Return the output ``y``, whose gradient will come with such strides."""
    if _is_open(y) and y.requires_grad:
        y.register_hook(with_plain_strides)  # type: ignore[no-untyped-call]
    return y


def _is_open(x: Tensor) -> bool:
    return x.ndim > 3 and 1 in x.shape and not torch.compiler.is_compiling() and not is_tracing()
