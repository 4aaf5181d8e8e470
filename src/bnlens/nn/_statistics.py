"""Batch statistics by the native kernels, in float32 or wider."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bnlens.errors import UsageError
from bnlens.nn._cpu import group_moments, has_fast_groups
from bnlens.nn._graphs import is_tracing

__all__ = ["BatchStatistics", "batch_statistics", "check_eps", "normalise_by_batch", "statistics_dtype"]


class BatchStatistics(NamedTuple):
    """Statistics of one batch, per channel.

    Attributes:
        mean: (C,), float32 or wider.
        variance: biased, (C,).
        values: values per channel, samples times pixels.
    """

    mean: Tensor
    variance: Tensor
    values: int

    @property
    def bessel_variance(self) -> Tensor:
        """The variance with Bessel's correction, (C,), as running statistics keep it."""
        return self.variance * (self.values / (self.values - 1))


def check_eps(eps: float) -> None:
    """Raise UsageError unless ``eps`` is positive, as torch's layer does: a channel without variance would be NaN."""
    if eps <= 0:
        raise UsageError(f"eps is {eps}; it must be positive in training, or a channel without variance gives NaN")


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return float32, or the dtype of ``x`` where that is wider."""
    return torch.promote_types(x.dtype, torch.float32)


def normalise_by_batch(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, BatchStatistics]:
    """Normalise ``x`` (N, C, ...) by its own statistics, as torch does, and return these too.

    Raises:
        ValueError: (by torch) there is one value per channel.
    """
    # With momentum 1 the kernel leaves the batch's mean and Bessel variance in the running statistics it is handed.
    scratch = torch.zeros(2, x.shape[1], dtype=statistics_dtype(x), device=x.device)
    y = F.batch_norm(x, scratch[0], scratch[1], weight, bias, True, 1.0, eps)
    values = x.numel() // x.shape[1]
    return y, BatchStatistics(scratch[0], scratch[1] * ((values - 1) / values), values)


@torch.no_grad()
def batch_statistics(x: Tensor) -> BatchStatistics:
    """Return the statistics of ``x`` (N, C, ...), without a gradient."""
    values = x.numel() // x.shape[1]
    # the kernel has no rule for symbolic shapes, the meta device and ONNX; slower than it where nothing is fused
    if torch.compiler.is_compiling() or x.is_meta or is_tracing():
        dims = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x.detach().to(statistics_dtype(x)), dims, correction=0)
        return BatchStatistics(mean, variance, values)
    if has_fast_groups(x):
        means, variances = group_moments(x, [x.shape[0]])
        return BatchStatistics(means[0], variances[0], values)
    # The kernel computes in the dtype of the running statistics it is handed; without them, in that of x.
    scratch = torch.zeros(2, x.shape[1], dtype=statistics_dtype(x), device=x.device)
    mean, variance = torch.batch_norm_update_stats(x.detach(), scratch[0], scratch[1], 1.0)
    return BatchStatistics(mean, variance, values)
