"""Shared statistics: micro-batches normalised by the statistics of all the samples they are part of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnlens.errors import UsageError
from bnlens.nn._responses import Means
from bnlens.nn._statistics import BatchStatistics, statistics_dtype

__all__ = ["Shared", "normalise_by_shared"]


@dataclass
class Shared:
    """The statistics that micro-batches share in one layer.

    Attributes:
        batch: statistics of all samples; None until the pass over all of them has run the layer.
        samples: how many there are.
        taken: whether that pass is over.
        means: backward statistics of all samples, as far as they are known.
    """

    batch: BatchStatistics | None = None
    samples: int = 0
    taken: bool = False
    means: Means | None = None

    def take(self, batch: BatchStatistics, samples: int, statistics_batch_size: float | None) -> None:
        """Keep the statistics that the pass over all samples found.

        Raises:
            UsageError: the layer ran before in this pass, or there are more samples than M.
        """
        if self.batch is not None:
            raise UsageError(
                "a layer runs twice in one forward pass, and shared statistics are of one run; give each place its own layer"
            )
        if statistics_batch_size is not None and samples > statistics_batch_size:
            raise UsageError(
                f"{samples} samples cannot share statistics at a statistics batch size of {statistics_batch_size}; "
                f"share those of {statistics_batch_size} at a time (images.split)"
            )
        self.batch, self.samples = batch, samples

    def of(self, samples: int) -> Means:
        """Return the statistics of all samples, forward and backward, for a micro-batch of this many samples.

        Raises:
            UsageError: the pass over all samples did not run the layer, or was over fewer samples.
        """
        if self.means is None:
            raise UsageError("a layer that the pass over all samples did not run has no statistics to share")
        if samples > self.samples:
            raise UsageError(
                f"a batch of {samples} samples cannot be part of the {self.samples} whose statistics are shared"
            )
        return self.means


def normalise_by_shared(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, means: Means, *, keep: bool, valid: Tensor | None = None
) -> Tensor:
    r"""Return gamma (x - mu) / sqrt(var + eps) + beta by the statistics of all samples, with nearly BN's gradient over them.

    With <.> the mean over all M samples' values, BN has :math:`dx = \gamma (dy - <dy> - \hat x <dy \hat x>) / \sigma`. A
    micro-batch knows its own share of these means, and those of the micro-batches whose backward pass came before. In place of
    the rest stands the past, see `bnlens.nn._responses`. The expected gradient is BN's but for terms of the order
    of 1 / M, because the later micro-batches depend on this one through the statistics and the past does not.

    Input, gamma, beta and epsilon as of `bnlens.nn._window.normalise_by_window`; ``means`` has the statistics of all samples,
    those of ``x`` among them: of the values that ``valid`` (N, 1, ...) marks, if it is given. The backward pass adds this
    micro-batch to them, if it is finite and ``keep`` is set.
    """
    y: Tensor = _Shared.apply(x, weight, bias, eps, means, keep, valid)  # type: ignore[no-untyped-call]
    return y


class _Shared(torch.autograd.Function):
    """Forward as in eval mode, by given statistics; backward as through them, with the past in place of other micro-batches."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        means: Means,
        keep: bool,
        valid: Tensor | None,
    ) -> Tensor:
        """Normalise by the statistics of all samples."""
        mean, variance, _ = means.batch
        ctx.save_for_backward(x, weight, mean, variance, valid)
        ctx.eps, ctx.means, ctx.keep = eps, means, keep
        y: Tensor = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, ``weight`` and ``bias``."""
        x, weight, mean, variance, valid = ctx.saved_tensors
        dx, dgamma, dbeta = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [True] * 3
        )
        values = x.numel() // x.shape[1] if valid is None else int(valid.sum())
        of_all = ctx.means.take(torch.stack([dbeta, dgamma]), values, keep=ctx.keep)
        invstd = (variance + ctx.eps).rsqrt()
        scale = weight * invstd
        slope = -scale * of_all[1] * invstd
        shift = -scale * of_all[0] - slope * mean
        shape, wide = (1, -1, *[1] * (x.ndim - 2)), statistics_dtype(x)
        slope, shift = (term.view(shape) for term in (slope, shift))
        if valid is not None:  # padding is in no statistics
            slope, shift = (term.where(valid, 0) for term in (slope, shift))
        dx = dx.to(wide).addcmul_(x.to(wide), slope).add_(shift).to(x.dtype)
        return dx, dgamma, dbeta, None, None, None, None
