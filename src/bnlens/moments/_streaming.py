"""The thin stateful classes over update, merge and compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor

from bnlens._arguments import Count, checked, shown
from bnlens._devices import Device
from bnlens.errors import UsageError
from bnlens.moments._cross import CrossEstimates, CrossSums, compute_cross, merge_cross, update_cross
from bnlens.moments._distributed import all_merge
from bnlens.moments._estimates import MomentEstimates, compute_moments
from bnlens.moments._power import MomentSums, merge_moments, update_moments
from bnlens.moments._sums import AnySums

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from typing_extensions import Self

__all__ = ["CrossMoments", "Moments"]

Estimates = TypeVar("Estimates")


class _Streaming(Generic[AnySums, Estimates]):
    """Sums of one kind with what is done to them; a subclass names the kind and its three functions."""

    _empty: Callable[..., AnySums]
    _update: Callable[[AnySums, Tensor], AnySums]
    _merge: Callable[[AnySums, AnySums], AnySums]
    _compute: Callable[..., Estimates]

    @checked
    def __init__(self, num_features: Count, *, device: Device | None = None) -> None:
        self.sums = self._empty(num_features, device=device)

    @checked
    def update(self, batch: Tensor) -> None:
        r"""Add a batch (N, C) or (N, C, \*spatial); see :func:`update_moments` and :func:`update_cross`."""
        self.sums = self._update(self.sums, batch)

    @checked
    def merge(self, other: Self) -> None:
        """Add the samples of ``other``, which stays as it is; see :func:`merge_moments` and :func:`merge_cross`."""
        if not isinstance(other, type(self)):
            raise UsageError(f"other is {shown(other)}; it must be a {type(self).__name__}, as this one is")
        self.sums = self._merge(self.sums, other.sums)

    @checked
    def all_merge(self, group: ProcessGroup | int | None = None) -> Self:
        """Return a new object with the samples of all ranks; this one keeps its own. See :func:`all_merge`."""
        merged = type(self)(self.sums.num_features)
        merged.sums = all_merge(self.sums, self._merge, group)
        return merged

    @checked
    def compute(self, *, bessel: bool = False) -> Estimates:
        """Return the estimates for the samples so far; see :func:`compute_moments` and :func:`compute_cross`."""
        return self._compute(self.sums, bessel=bessel)

    def reset(self) -> None:
        """Forget every sample and every skipped batch."""
        self.sums = self._empty(self.sums.num_features, device=self.sums.mean.device)

    def __repr__(self) -> str:
        count, skipped = int(self.sums.count), int(self.sums.skipped_batches)
        return f"{type(self).__name__}(num_features={self.sums.num_features}, count={count}, skipped_batches={skipped})"


class Moments(_Streaming[MomentSums, MomentEstimates]):
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

    _empty = staticmethod(MomentSums.empty)
    _update = staticmethod(update_moments)
    _merge = staticmethod(merge_moments)
    _compute = staticmethod(compute_moments)


class CrossMoments(_Streaming[CrossSums, CrossEstimates]):
    """Streaming mean and covariance of C channels; arguments and methods are those of :class:`Moments`.

    Example:
        >>> import torch
        >>> from bnlens.moments import CrossMoments
        >>> cross = CrossMoments(2)
        >>> cross.update(torch.tensor([[0.0, 0.0]]))
        >>> cross.update(torch.tensor([[2.0, 4.0]]))
        >>> cross.compute().covariance.tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """

    _empty = staticmethod(CrossSums.empty)
    _update = staticmethod(update_cross)
    _merge = staticmethod(merge_cross)
    _compute = staticmethod(compute_cross)
