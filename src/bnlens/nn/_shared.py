"""Shared statistics: micro-batches normalised by the statistics of all the samples they are part of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnlens.errors import UsageError
from bnlens.nn._statistics import BatchStatistics, statistics_dtype

__all__ = ["Shared", "empty_responses", "normalise_by_shared"]


@dataclass
class Shared:
    """The statistics that micro-batches share in one layer.

    Attributes:
        batch: statistics of all samples; None until the pass over all of them has run the layer.
        samples: how many there are.
        taken: whether that pass is over.
    """

    batch: BatchStatistics | None = None
    samples: int = 0
    taken: bool = False

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

    def of(self, samples: int) -> BatchStatistics:
        """Return the statistics, for a micro-batch of this many samples.

        Raises:
            UsageError: the pass over all samples did not run the layer, or was over fewer samples.
        """
        if self.batch is None:
            raise UsageError("a layer that the pass over all samples did not run has no statistics to share")
        if samples > self.samples:
            raise UsageError(
                f"a batch of {samples} samples cannot be part of the {self.samples} whose statistics are shared"
            )
        return self.batch


def empty_responses(num_features: int, *, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return responses that have seen nothing, (3, C).

    Rows: mean over values of dy and of dy xhat, with dy the gradient of the layer's output; total weight of what was seen,
    from 0 to 1. The first two are means only once divided by the third.
    """
    return torch.zeros(3, num_features, device=device, dtype=dtype)


def normalise_by_shared(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    whole: BatchStatistics,
    responses: Tensor,
    valid: Tensor | None = None,
) -> Tensor:
    r"""Return gamma (x - mu) / sqrt(var + eps) + beta by the statistics of all samples, with nearly BN's gradient over them.

    With <.> the mean over all M samples' values, BN has :math:`dx = \gamma (dy - <dy> - \hat x <dy \hat x>) / \sigma`. A
    micro-batch of m samples knows its share s = m / M of these means. In place of the rest stands the past: the means are
    exponential averages with weight s, the micro-batch included. The expected gradient is BN's but for terms of the order
    of 1 / M, because the other micro-batches depend on this one through the statistics and the past does not.

    Input, gamma, beta and epsilon as of `bnlens.nn._window.normalise_by_window`; ``whole`` has the statistics of all samples,
    those of ``x`` among them: of the values that ``valid`` (N, 1, ...) marks, if it is given. The backward pass adds this
    micro-batch to ``responses`` (3, C), if it is finite.
    """
    y: Tensor = _Shared.apply(x, weight, bias, eps, whole, responses, valid)  # type: ignore[no-untyped-call]
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
        whole: BatchStatistics,
        responses: Tensor,
        valid: Tensor | None,
    ) -> Tensor:
        """Normalise by the statistics of all samples."""
        ctx.save_for_backward(x, weight, whole.mean, whole.variance, valid)
        # not saved as the other tensors are: micro-batches that run before this one's backward pass may change it
        ctx.eps, ctx.values, ctx.responses = eps, whole.values, responses
        y: Tensor = torch.native_batch_norm(x, weight, bias, whole.mean, whole.variance, False, 0.0, eps)[0]
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
        share = values / ctx.values
        own = torch.stack([dbeta, dgamma]).to(ctx.responses.dtype) / max(values, 1)
        responses = torch.lerp(ctx.responses, torch.cat([own, torch.ones_like(own[:1])]), share)
        of_all = responses[:2] / responses[2]
        invstd = (variance + ctx.eps).rsqrt()
        scale = weight * invstd
        slope = -scale * of_all[1] * invstd
        shift = -scale * of_all[0] - slope * mean
        shape, wide = (1, -1, *[1] * (x.ndim - 2)), statistics_dtype(x)
        slope, shift = (term.view(shape) for term in (slope, shift))
        if valid is not None:  # padding is in no statistics
            slope, shift = (term.where(valid, 0) for term in (slope, shift))
        dx = dx.to(wide).addcmul_(x.to(wide), slope).add_(shift).to(x.dtype)
        ctx.responses.copy_(torch.where(responses.isfinite().all(), responses, ctx.responses))
        return dx, dgamma, dbeta, None, None, None, None
