"""Streaming moments per channel and covariances: update by a batch, merge, compute.

Each statistic is three pure functions over a frozen dataclass of float64 sums, exact under any split of the samples
into batches, ranks or runs, with a thin class on top.
"""

from bnlens.moments._cross import CrossEstimates as CrossEstimates
from bnlens.moments._cross import CrossSums as CrossSums
from bnlens.moments._cross import compute_cross as compute_cross
from bnlens.moments._cross import merge_cross as merge_cross
from bnlens.moments._cross import update_cross as update_cross
from bnlens.moments._distributed import all_merge as all_merge
from bnlens.moments._estimates import MomentEstimates as MomentEstimates
from bnlens.moments._estimates import compute_moments as compute_moments
from bnlens.moments._power import MomentSums as MomentSums
from bnlens.moments._power import merge_moments as merge_moments
from bnlens.moments._power import update_moments as update_moments
from bnlens.moments._streaming import CrossMoments as CrossMoments
from bnlens.moments._streaming import Moments as Moments

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
