"""Statistics of the valid values of a padded batch, in plain autograd, on one rank or over several.

A sample with a valid value counts as one of the m samples at hand; one without belongs to the group of the sample before it
and adds nothing to its statistics. Padding is normalised by the statistics of its sample's group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bnlens.errors import UsageError
from bnlens.nn._ranks import check_batch_sizes, gather_rows
from bnlens.nn._statistics import BatchStatistics, statistics_dtype

__all__ = ["MaskedBatch", "count_valid", "few_values", "group_statistics", "normalise_valid"]


class MaskedBatch(NamedTuple):
    """A padded batch.

    Attributes:
        valid: which of this rank's values count, bool, (N, 1, ...).
        samples: that have a valid value, on all ranks.
        values: valid ones per channel, on all ranks.
        place: of each sample of this rank among those of all ranks that count, (N,).
        ranks: that the statistics are over; None for this one alone.
    """

    valid: Tensor
    samples: int
    values: int
    place: Tensor
    ranks: dist.ProcessGroup | None


class GroupStatistics(NamedTuple):
    """Statistics of k groups, which gradients go through.

    Attributes:
        mean: (k, C), float32 or wider.
        variance: biased, (k, C).
        member: the group of each sample of this rank, (N,).
        batch: of all groups together, without a gradient.
    """

    mean: Tensor
    variance: Tensor
    member: Tensor
    batch: BatchStatistics


def count_valid(valid: Tensor, ranks: dist.ProcessGroup | None, statistics_batch_size: float | None) -> MaskedBatch:
    """Count the valid values and the samples that have any; with ``ranks`` each rank calls it, also one without samples.

    Raises:
        UsageError: the ranks have different statistics batch sizes.
    """
    each = valid.flatten(1).sum(1)
    counts = each > 0
    head = torch.stack([counts.sum(), each.sum()]).double()
    first = 0
    if ranks is not None:
        heads = gather_rows(F.pad(head, (0, 1), value=statistics_batch_size or 0), ranks)
        check_batch_sizes(heads[:, 2].tolist())
        head, first = heads[:, :2].sum(0), int(heads[: dist.get_rank(ranks), 0].sum())
    place = (counts.cumsum(0) + (first - 1)).clamp_min(0)
    return MaskedBatch(valid, int(head[0]), int(head[1]), place, ranks)


def group_statistics(x: Tensor, batch: MaskedBatch, sizes: Sequence[int]) -> GroupStatistics:
    """Return the statistics of the valid values of ``x`` (N, C, ...) in groups of so many samples that count."""
    wide = statistics_dtype(x)
    ends = torch.tensor(sizes, device=x.device).cumsum(0)
    member = torch.bucketize(batch.place, ends, right=True).clamp_max(len(sizes) - 1)

    def totals(values: Tensor) -> Tensor:  # of each sample's pixels, then of each group, (k, C)
        each = values.flatten(2).sum(2) if values.ndim > 2 else values
        own = each.new_zeros(len(sizes), each.shape[1]).index_add(0, member, each)
        summed: Tensor = own if batch.ranks is None else _SumOverRanks.apply(own, batch.ranks)  # type: ignore[no-untyped-call]
        return summed

    counts = totals(batch.valid.to(wide))  # (k, 1)
    mean = totals(torch.where(batch.valid, x, 0).to(wide)) / counts
    centred = torch.where(batch.valid, x - _rows(mean, member, x), 0)
    variance = totals(centred.square()) / counts
    with torch.no_grad():
        share = counts / batch.values
        whole = (share * mean).sum(0)
        together = (share * (variance + (mean - whole).square())).sum(0)
    return GroupStatistics(mean, variance, member, BatchStatistics(whole, together, batch.values))


def normalise_valid(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, groups: GroupStatistics, window: Tensor | None = None
) -> Tensor:
    """Return gamma (x - mu) / sqrt(var + eps) + beta by each sample's group, or by the window that the batch is part of.

    Padding is normalised as its sample's valid values are. Input, gamma, beta, epsilon, window and its gradient are those of
    `bnlens.nn._window.normalise_by_window`.
    """
    if len(groups.mean) > 1:
        scale = weight * (groups.variance + eps).rsqrt()
        y = (x - _rows(groups.mean, groups.member, x)) * _rows(scale, groups.member, x)
        return (y + bias.view(_table_shape(x))).to(x.dtype)
    # Torch's kernel, by constants; gamma and beta, which it differentiates, carry the statistics.
    mean, variance = groups.mean[0], groups.variance[0]
    mu, var = (mean.detach(), variance.detach()) if window is None else (window[0], window[1])
    invstd = (var + eps).rsqrt()
    gamma = weight * (variance.detach() + eps).sqrt() * (variance + eps).rsqrt()
    beta = bias + invstd * (gamma * (mu - mean) + weight * (mean.detach() - mu))
    return F.batch_norm(x, mu, var, gamma, beta, False, 0.0, eps)


def _rows(table: Tensor, member: Tensor, x: Tensor) -> Tensor:
    """Return the row of ``table`` (k, C) of each sample's group, (N, C, 1, ...)."""
    return table.index_select(0, member).view(len(x), x.shape[1], *(1 for _ in x.shape[2:]))


def _table_shape(x: Tensor) -> list[int]:
    return [1, -1, *(1 for _ in x.shape[2:])]


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over ranks, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: dist.ProcessGroup) -> Tensor:
        """Sum; every rank takes part."""
        ctx.ranks = ranks
        total = own.clone()
        dist.all_reduce(total, group=ranks)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Sum the gradients."""
        total = grad.clone()
        dist.all_reduce(total, group=ctx.ranks)
        return total, None


def few_values(x: Tensor, values: int) -> UsageError:
    """Return the error of a batch whose mask leaves so many values per channel, none or one."""
    return UsageError(
        f"got {values} valid values per channel in training, input shape {tuple(x.shape)}, too few for statistics; leave such "
        "batches out, and see that the mask is True at valid values"
    )
