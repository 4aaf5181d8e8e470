"""Cross sums: means and centred co-moments of all pairs of channels, to their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens._arguments import checked
from bnlens.moments._sums import Sums, check_mergeable, update_sums

__all__ = ["CrossEstimates", "CrossSums", "compute_cross", "merge_cross", "update_cross"]


@dataclass(frozen=True, eq=False)
class CrossSums(Sums):
    r"""The sums over samples that the covariance of their channels follows from.

    With sample vectors :math:`x_i` and their mean :math:`\bar x`, ``comoment`` is
    :math:`\sum_i (x_i - \bar x)(x_i - \bar x)^T`. The cross covariance of two vectors is a block of the covariance of
    their concatenation.

    Attributes:
        count: samples n, shape (), int64.
        skipped_batches: batches left out because they were not finite, shape (), int64.
        mean: (C,) float64, zero where nothing was seen.
        comoment: (C, C) float64.
    """

    _order = 2

    comoment: Tensor


@dataclass(frozen=True, eq=False)
class CrossEstimates:
    """Mean and covariance of the channels, float64.

    Attributes:
        count: samples n.
        skipped_batches: batches left out because they were not finite.
        mean: (C,), nan without samples.
        covariance: (C, C), biased (divided by n), or by n - 1 with ``bessel=True``; nan where samples are too few.
    """

    count: int
    skipped_batches: int
    mean: Tensor
    covariance: Tensor

    @property
    def correlation(self) -> Tensor:
        """Pearson correlations, (C, C); nan in the rows and columns of channels without variance."""
        std = self.covariance.diagonal().sqrt()
        return self.covariance / torch.outer(std, std)


@checked
def update_cross(sums: CrossSums, batch: Tensor) -> CrossSums:
    """Add a batch to the cross sums; arguments, errors, centring and what is skipped are as in :func:`update_moments`."""
    return update_sums(sums, batch, _sums_of, merge_cross)


@checked
def merge_cross(first: CrossSums, second: CrossSums) -> CrossSums:
    r"""Return cross sums over the samples of both, whatever the two counts; either may be empty.

    .. math:: C = C_1 + C_2 + \frac{n_1 n_2}{n_1 + n_2} \delta \delta^T, \qquad \delta = \bar x_2 - \bar x_1.

    Arguments, devices and errors as in :func:`merge_moments`.
    """
    check_mergeable(first, second)
    second = second.to(first.mean.device)
    count = first.count + second.count
    share2 = second.count / count.double().clamp(min=1)
    delta = second.mean - first.mean
    return CrossSums(
        count=count,
        skipped_batches=first.skipped_batches + second.skipped_batches,
        mean=first.mean + share2 * delta,
        comoment=first.comoment + second.comoment + first.count * share2 * torch.outer(delta, delta),
    )


@checked
def compute_cross(sums: CrossSums, *, bessel: bool = False) -> CrossEstimates:
    """Return the mean and the covariance matrix that the cross sums describe.

    Args:
        sums: cross sums over C channels.
        bessel: divide by n - 1 instead of n.

    Example:
        >>> import torch
        >>> from bnlens.moments import CrossSums, compute_cross, update_cross
        >>> sums = update_cross(CrossSums.empty(2), torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
        >>> compute_cross(sums).covariance.tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """
    n = sums.count.double()
    divisor = (n - 1).clamp(min=0) if bessel else n
    return CrossEstimates(
        count=int(sums.count),
        skipped_batches=int(sums.skipped_batches),
        mean=torch.where(n > 0, sums.mean, torch.nan),
        covariance=sums.comoment / divisor,
    )


def _sums_of(piece: Tensor) -> CrossSums:
    """Return cross sums over one float64 piece (C, samples), which is overwritten."""
    mean = piece.mean(1)
    centred = piece.sub_(mean.unsqueeze(1))
    zero = torch.zeros((), dtype=torch.int64, device=piece.device)
    return CrossSums(count=zero + piece.shape[1], skipped_batches=zero, mean=mean, comoment=centred @ centred.T)
