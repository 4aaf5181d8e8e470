"""Ghost groups by plain operations, for compilers that fuse them: their number does not grow with the number of groups."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.nn._groups import equal_groups
from bnlens.nn._statistics import statistics_dtype

__all__ = ["backward_plain", "forward_plain", "moments_plain"]


def forward_plain(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, ...]:
    """Return the output for ``x`` (N, C, ...) and, per group, mean, 1 / sqrt(variance + eps), biased variance, (k, C) each."""
    outputs, saved = [], []
    for _, samples, size in equal_groups(sizes):
        part = x[samples].to(statistics_dtype(x))
        variance, mean = torch.var_mean(_by_groups(part, size), _within_groups(x), correction=0)
        invstd = (variance + eps).rsqrt()
        y = (part - _spread(mean, part)) * _spread(invstd * weight, part) + _spread(bias.unsqueeze(0), part)
        outputs.append(y.to(x.dtype))
        saved.append(torch.stack([mean, invstd, variance]))  # a fused kernel would find them again for each value
    return torch.cat(outputs), *torch.cat(saved, 1)


def moments_plain(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance of each group, (k, C) each."""
    means, variances = [], []
    for _, samples, size in equal_groups(sizes):
        part = x[samples].to(statistics_dtype(x))
        variance, mean = torch.var_mean(_by_groups(part, size), _within_groups(x), correction=0)
        means.append(mean)
        variances.append(variance)
    return torch.cat(means), torch.cat(variances)


def backward_plain(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of ``x``, and of ``weight`` and ``bias`` per group, (k, C) each."""
    parts, dweights, dbiases = [], [], []
    for groups, samples, size in equal_groups(sizes):
        g, part = (t[samples].to(mean.dtype) for t in (grad, x))
        xhat = (part - _spread(mean[groups], part)) * _spread(invstd[groups], part)
        dweight, dbias = (_by_groups(t, size).sum(_within_groups(x)) for t in (g * xhat, g))
        values = part.numel() // dbias.numel()
        dx = g - _spread(dbias / values, part) - xhat * _spread(dweight / values, part)
        parts.append((dx * _spread(invstd[groups] * weight, part)).to(x.dtype))
        dweights.append(dweight)
        dbiases.append(dbias)
    return torch.cat(parts), torch.cat(dweights), torch.cat(dbiases)


def _by_groups(x: Tensor, size: int) -> Tensor:
    return x.view(-1, size, *x.shape[1:])


def _within_groups(x: Tensor) -> list[int]:
    """Return the dimensions of samples and pixels of ``x``, once its samples are in groups: (k, samples, C, ...)."""
    return [1, *range(3, x.ndim + 1)]


def _spread(table: Tensor, x: Tensor) -> Tensor:
    """Return ``table`` (k, C) with the row of a group for each of its samples of ``x``, (N, C, 1, ...)."""
    # Inductor keeps the layout of x where the tables are brought to its shape, and not where x is brought to theirs.
    by_samples = table.unsqueeze(1).expand(-1, x.shape[0] // table.shape[0], -1)
    return by_samples.reshape(x.shape[0], x.shape[1], *(1 for _ in x.shape[2:]))
