"""The layers in operations that autograd differentiates itself, as graphs that outlive this process need them."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.nn._statistics import BatchStatistics, statistics_dtype

__all__ = ["by_equal_groups", "by_renormalisation"]


def by_equal_groups(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, M: int | None
) -> tuple[Tensor, BatchStatistics]:
    """Normalise groups of M samples, whose number the graph need not know; return the statistics of the whole batch too.

    At None it is the whole batch: in torch's export to ONNX, its own operation of training becomes that of eval mode.
    """
    parted = x.unsqueeze(0) if M is None else x.view(-1, M, *x.shape[1:])
    groups = parted.to(statistics_dtype(x))  # (k, M, C, ...)
    within, shape = [1, *range(3, groups.ndim)], (-1,) + (1,) * (x.ndim - 2)
    variance, mean = torch.var_mean(groups, within, correction=0, keepdim=True)
    y = (groups - mean) * ((variance + eps).rsqrt() * weight.view(shape)) + bias.view(shape)
    means, variances = (t.detach().reshape(t.shape[0], -1) for t in (mean, variance))
    whole = means.mean(0)
    of_whole = (variances + (means - whole).square()).mean(0)
    return y.flatten(0, 1).to(x.dtype), BatchStatistics(whole, of_whole, x.numel() // x.shape[1])


def by_renormalisation(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, batch: BatchStatistics, window: Tensor
) -> Tensor:
    """As `bnlens.nn._window.normalise_by_window`, by the normalisation with the batch that its gradient goes through."""
    wide, shape = x.to(statistics_dtype(x)), (1, -1) + (1,) * (x.ndim - 2)
    variance, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0, keepdim=True)
    scale = (window[1] + eps).rsqrt()
    r, d = (batch.variance + eps).sqrt() * scale, (batch.mean - window[0]) * scale
    xhat = (wide - mean) * (variance + eps).rsqrt()
    return (xhat * (weight * r).view(shape) + (weight * d + bias).view(shape)).to(x.dtype)
