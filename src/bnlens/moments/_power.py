"""Centred power sums to order four: the state, its update by a batch, and the pairwise merge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens._arguments import checked
from bnlens.moments._sums import Sums, check_mergeable, update_sums

__all__ = ["MomentSums", "merge_moments", "update_moments"]


@dataclass(frozen=True, eq=False)
class MomentSums(Sums):
    r"""The sums over samples, per channel, that moments to order four follow from.

    With :math:`n` samples :math:`x_i` of a channel and their mean :math:`\bar x`, ``sum2``, ``sum3`` and ``sum4`` are
    :math:`\sum_i (x_i - \bar x)^p` for p = 2, 3, 4. A sample is one value of the channel: an image of H x W pixels
    counts H W times.

    Attributes:
        count: n, shape (), int64.
        skipped_batches: batches left out because they were not finite, shape (), int64.
        mean: (C,) float64, zero where nothing was seen.
        sum2: (C,) float64.
        sum3: (C,) float64.
        sum4: (C,) float64.
    """

    sum2: Tensor
    sum3: Tensor
    sum4: Tensor


@checked
def update_moments(sums: MomentSums, batch: Tensor) -> MomentSums:
    r"""Add a batch to the sums.

    The batch is cast to float64 in pieces and centred by its own mean before powers are taken, so that a mean far from
    zero costs no digits; pieces and sums are joined by :func:`merge_moments`. A batch that holds a value that is not
    finite (or one whose fourth power is beyond float64) is left out as a whole and counted in ``skipped_batches``. The
    decision is taken on the device, without waiting for it. Gradients are not tracked.

    Args:
        sums: the sums so far, with C channels; they are not changed.
        batch: (N, C) or (N, C, \*spatial), any floating dtype, any memory format; N may be zero.

    Returns:
        New sums, float64 whatever the dtype of the batch.

    Raises:
        UsageError: the batch is not floating point, has fewer than two dimensions, or another number of channels.
    """
    return update_sums(sums, batch, _sums_of, merge_moments)


@checked
def merge_moments(first: MomentSums, second: MomentSums) -> MomentSums:
    r"""Return sums over the samples of both, whatever the two counts; either may be empty.

    With :math:`\delta = \bar x_2 - \bar x_1`, :math:`n = n_1 + n_2` and the shares :math:`w_k = n_k / n`, for order two
    (Chan, Golub, LeVeque 1979) and, in the same way, three and four (Pebay 2008)

    .. math:: S_2 = S_{2,1} + S_{2,2} + n w_1 w_2 \delta^2.

    Args:
        first: sums over C channels.
        second: sums over the same channels; moved to the device of ``first``.

    Returns:
        New sums on the device of ``first``; the counts of skipped batches are added.

    Raises:
        UsageError: the numbers of channels differ.
    """
    check_mergeable(first, second)
    second = second.to(first.mean.device)
    count = first.count + second.count
    samples = count.double()
    share1 = first.count / samples.clamp(min=1)
    share2 = second.count / samples.clamp(min=1)
    delta = second.mean - first.mean
    delta2 = delta * delta
    between = samples * share1 * share2 * delta2
    return MomentSums(
        count=count,
        skipped_batches=first.skipped_batches + second.skipped_batches,
        mean=first.mean + share2 * delta,
        sum2=first.sum2 + second.sum2 + between,
        sum3=first.sum3
        + second.sum3
        + between * delta * (share1 - share2)
        + 3 * delta * (share1 * second.sum2 - share2 * first.sum2),
        sum4=first.sum4
        + second.sum4
        + between * delta2 * (share1 * share1 - share1 * share2 + share2 * share2)
        + 6 * delta2 * (share1 * share1 * second.sum2 + share2 * share2 * first.sum2)
        + 4 * delta * (share1 * second.sum3 - share2 * first.sum3),
    )


def _sums_of(piece: Tensor) -> MomentSums:
    """Return sums over one float64 piece (C, samples), which is overwritten."""
    mean = piece.mean(1)
    centred = piece.sub_(mean.unsqueeze(1))
    squares = centred * centred
    zero = torch.zeros((), dtype=torch.int64, device=piece.device)
    return MomentSums(
        count=zero + piece.shape[1],
        skipped_batches=zero,
        mean=mean,
        sum2=squares.sum(1),
        sum3=centred.mul_(squares).sum(1),
        sum4=squares.mul_(squares).sum(1),
    )
