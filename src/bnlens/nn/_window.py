"""The window: statistics over more samples than are at hand, the current batch included."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bnlens._arguments import AtLeastTwo, Count, checked
from bnlens.nn._export import by_renormalisation
from bnlens.nn._graphs import is_exporting
from bnlens.nn._statistics import BatchStatistics

__all__ = [
    "advance_window",
    "empty_window",
    "is_sound",
    "matching_window",
    "normalise_by_window",
    "window_of_batch",
    "window_weight",
]

_POPULATION_BATCHES = 3
_POPULATION_SAMPLES = 128
_INCOHERENCE = 1.5  # benchmarks/window_gap.py measures it


def window_weight(samples: int, statistics_batch_size: float) -> float:
    """Return the weight a of a batch of m samples in the window.

    a = 2m / (M + m), because an exponential average with weight a over batches of m samples has the variance of
    m (2 - a) / a samples. M = inf stands for max(3 m, 128) samples, so a is at most 0.5.

    >>> window_weight(16, 64), window_weight(64, math.inf), round(window_weight(4, math.inf), 3)
    (0.4, 0.5, 0.061)
    """
    if statistics_batch_size == math.inf:
        statistics_batch_size = max(_POPULATION_BATCHES * samples, _POPULATION_SAMPLES)
    return 2 * samples / (statistics_batch_size + samples)


@checked
def matching_window(statistics_batch_size: AtLeastTwo, device_batch_size: Count) -> int:
    """Return the samples W of a window that makes a *network* about as noisy as BN over M, in batches of m samples.

    With windows over M each layer has the noise of M samples, but the network more than BN over M: its later layers cannot
    take out what earlier ones did to past batches, whose share is 1 - a = (M - m) / (M + m). So
    W = M (1 + 1.5 (M - m) / (M + m)), rounded. The form and the 1.5 are measured, not derived: docs/dial.md.

    Args:
        statistics_batch_size: M, at least 2.
        device_batch_size: m, at least 1; from M on nothing is added.

    >>> [matching_window(64, m) for m in (64, 32, 16, 8)]
    [64, 96, 122, 139]
    """
    M, m = statistics_batch_size, min(device_batch_size, statistics_batch_size)
    return round(M * (1 + _INCOHERENCE * (M - m) / (M + m)))


def empty_window(num_features: int, *, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return a window that has seen nothing, (4, C).

    Rows: mean; biased variance; total weight of what was seen, from 0 to 1, for the correction of the bias towards the
    start; sum of squared weights of single samples, whose inverse is the number of samples the window is worth.
    """
    return torch.zeros(4, num_features, device=device, dtype=dtype)


def window_of_batch(batch: BatchStatistics, samples: int) -> Tensor:
    """Return a window that holds one batch and nothing else."""
    return torch.stack(
        [batch.mean, batch.variance, torch.ones_like(batch.mean), torch.full_like(batch.mean, 1 / samples)]
    )


def advance_window(window: Tensor, batch: BatchStatistics, samples: int, weight: float) -> Tensor:
    """Return the window after a batch of weight ``weight``; the old one is not changed.

    Averages mean and second moment, written around the mean so that nothing cancels. Its variance has the bias that
    the variance of as many samples as the window is worth has; an average of batch variances would be too low. ``batch`` has
    the statistics of the current batch, of m samples, and ``weight`` is a, see :func:`window_weight`.
    """
    # Few operations on purpose: on small inputs their number is the cost of the layer.
    mean, variance, seen, concentration = window.to(batch.mean.dtype)
    seen = seen * (1 - weight) + weight
    share = weight / seen  # 1 for the first batch
    rest, change = 1 - share, batch.mean - mean
    return torch.stack(
        [
            torch.lerp(mean, batch.mean, share),
            torch.lerp(torch.addcmul(variance, share, change * change), batch.variance, share),
            seen,
            torch.addcmul(rest * rest * concentration, share, share / samples),
        ]
    )


def is_sound(window: Tensor) -> Tensor:
    """Return whether all of a window is finite, a tensor without dimensions."""
    largest: Tensor = torch.linalg.vector_norm(window, math.inf)
    return largest < math.inf


def normalise_by_window(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, batch: BatchStatistics, window: Tensor
) -> Tensor:
    """Return gamma (x - mu_W) / sqrt(var_W + eps) + beta, with the gradient of batch renormalization without clipping.

    With r = sqrt((var_B + eps) / (var_W + eps)) and d = (mu_B - mu_W) / sqrt(var_W + eps) it is gamma (r xhat_B + d) + beta;
    the gradient goes through xhat_B, the normalisation by the current batch, and takes r and d for constants.

    Args:
        x: (N, C, ...).
        weight: gamma, (C,).
        bias: beta, (C,).
        eps: added to both variances.
        batch: statistics of ``x``.
        window: (4, C), of which the current batch is part.
    """
    if is_exporting():
        return by_renormalisation(x, weight, bias, eps, batch, window)
    statistics = batch.mean, batch.variance, window[0], window[1]
    y: Tensor = _Renormalise.apply(x, weight, bias, eps, *statistics)  # type: ignore[no-untyped-call]
    return y


class _Renormalise(torch.autograd.Function):
    """The forward pass needs no normalisation by the batch, and the backward pass is one native call."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float, mean: Tensor, variance: Tensor, mu: Tensor, var: Tensor
    ) -> Tensor:
        """Normalise by (mu, var), the window's."""
        return torch.native_batch_norm(x, weight, bias, mu, var, False, 0.0, eps)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the input and the four statistics."""
        x, weight, _, ctx.eps, *statistics = inputs
        ctx.save_for_backward(x, weight, *statistics)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, ``weight`` and ``bias``."""
        x, weight, mean, variance, mu, var = ctx.saved_tensors
        invstd, invstd_window = (variance + ctx.eps).rsqrt(), (var + ctx.eps).rsqrt()
        r, d = invstd_window / invstd, (mean - mu) * invstd_window
        dx, dgamma, dbeta = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight * r, None, None, mean, invstd, True, ctx.eps, [True] * 3
        )
        return dx, r * dgamma + d * dbeta, dbeta, None, None, None, None, None
