"""The thin stateful classes over update, merge and compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnlens.moments._cross import CrossEstimates, CrossSums, compute_cross, merge_cross, update_cross
from bnlens.moments._distributed import all_merge
from bnlens.moments._estimates import MomentEstimates, compute_moments
from bnlens.moments._power import MomentSums, merge_moments, update_moments
from bnlens.moments._sums import Sums

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["CrossMoments", "Moments"]


class Moments:
    """Streaming moments to order four per channel.

    ``update`` adds a batch, ``merge`` the samples of another object, ``compute`` gives the estimates. How the batches
    were cut plays no role. ``sums`` is the whole state, an immutable :class:`MomentSums` that may be kept or pickled.

    Args:
        num_features: number of channels C.
        device: where the sums live; batches are brought there. It must know float64 (a CPU or CUDA device).

    Example:
        >>> import torch
        >>> from bnlens.moments import Moments
        >>> moments = Moments(1)
        >>> for batch in ([[1.0], [2.0]], [[3.0]], [[float("nan")]], [[6.0]]):
        ...     moments.update(torch.tensor(batch))
        >>> estimates = moments.compute(bessel=True)
        >>> estimates.mean.item(), round(estimates.variance.item(), 4), estimates.skipped_batches
        (3.0, 4.6667, 1)
    """

    def __init__(self, num_features: int, *, device: torch.device | str | None = None) -> None:
        self.sums = MomentSums.empty(num_features, device=device)

    def update(self, batch: Tensor) -> None:
        r"""Add a batch (N, C) or (N, C, \*spatial); see :func:`update_moments`."""
        self.sums = update_moments(self.sums, batch)

    def merge(self, other: Moments) -> None:
        """Add the samples of ``other``, which stays as it is; see :func:`merge_moments`."""
        self.sums = merge_moments(self.sums, other.sums)

    def all_merge(self, group: ProcessGroup | None = None) -> Moments:
        """Return the moments over all ranks as a new object; this one keeps its own samples. See :func:`all_merge`."""
        merged = Moments(self.sums.num_features)
        merged.sums = all_merge(self.sums, merge_moments, group)
        return merged

    def compute(self, *, bessel: bool = False) -> MomentEstimates:
        """Return the estimates for the samples so far; see :func:`compute_moments`."""
        return compute_moments(self.sums, bessel=bessel)

    def reset(self) -> None:
        """Forget every sample and every skipped batch."""
        self.sums = MomentSums.empty(self.sums.num_features, device=self.sums.mean.device)

    def __repr__(self) -> str:
        return _describe(self.sums, "Moments")


class CrossMoments:
    """Streaming mean and covariance of C channels; the protocol of :class:`Moments`.

    Args:
        num_features: number of channels C.
        device: where the sums live; batches are brought there. It must know float64 (a CPU or CUDA device).

    Example:
        >>> import torch
        >>> from bnlens.moments import CrossMoments
        >>> cross = CrossMoments(2)
        >>> cross.update(torch.tensor([[0.0, 0.0]]))
        >>> cross.update(torch.tensor([[2.0, 4.0]]))
        >>> cross.compute().covariance.tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """

    def __init__(self, num_features: int, *, device: torch.device | str | None = None) -> None:
        self.sums = CrossSums.empty(num_features, device=device)

    def update(self, batch: Tensor) -> None:
        r"""Add a batch (N, C) or (N, C, \*spatial); see :func:`update_cross`."""
        self.sums = update_cross(self.sums, batch)

    def merge(self, other: CrossMoments) -> None:
        """Add the samples of ``other``, which stays as it is; see :func:`merge_cross`."""
        self.sums = merge_cross(self.sums, other.sums)

    def all_merge(self, group: ProcessGroup | None = None) -> CrossMoments:
        """Return the cross moments over all ranks as a new object; this one keeps its own samples. See :func:`all_merge`."""
        merged = CrossMoments(self.sums.num_features)
        merged.sums = all_merge(self.sums, merge_cross, group)
        return merged

    def compute(self, *, bessel: bool = False) -> CrossEstimates:
        """Return the mean and covariance of the samples so far; see :func:`compute_cross`."""
        return compute_cross(self.sums, bessel=bessel)

    def reset(self) -> None:
        """Forget every sample and every skipped batch."""
        self.sums = CrossSums.empty(self.sums.num_features, device=self.sums.mean.device)

    def __repr__(self) -> str:
        return _describe(self.sums, "CrossMoments")


def _describe(sums: Sums, name: str) -> str:
    count, skipped = int(sums.count), int(sums.skipped_batches)
    return f"{name}(num_features={sums.num_features}, count={count}, skipped_batches={skipped})"
