"""Streaming moments per channel and covariances: update by a batch, merge, compute.

Each statistic is three pure functions over a frozen dataclass of float64 sums, exact under any split of the samples
into batches, ranks or runs, with a thin class on top.
"""

from bnlens.moments._cross import CrossEstimates, CrossSums, compute_cross, merge_cross, update_cross
from bnlens.moments._distributed import all_merge
from bnlens.moments._estimates import MomentEstimates, compute_moments
from bnlens.moments._power import MomentSums, merge_moments, update_moments
from bnlens.moments._streaming import CrossMoments, Moments

__all__ = [
    "CrossEstimates",
    "CrossMoments",
    "CrossSums",
    "MomentEstimates",
    "MomentSums",
    "Moments",
    "all_merge",
    "compute_cross",
    "compute_moments",
    "merge_cross",
    "merge_moments",
    "update_cross",
    "update_moments",
]
