"""Batch normalization whose statistics batch size is a number the user sets, whatever batch the device holds.

The layers subclass torch's, keep their parameters, buffers and ``state_dict`` keys, and take one more argument:
``statistics_batch_size``, None, an int from 2 on, or ``math.inf``. Where it is below the optimizer's batch, the field calls it
the ghost or virtual batch size.
"""

from bnlens.nn._base import DialBatchNorm, StatisticsBatchSize
from bnlens.nn._controls import freeze, set_statistics_batch_size, unfreeze
from bnlens.nn._curvature import CurvaturePenalty
from bnlens.nn._folded_rows import unwatch_rows, watch_rows
from bnlens.nn._gamma_decay import GammaDecay
from bnlens.nn._layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    PopulationBatchNorm1d,
    PopulationBatchNorm2d,
    PopulationBatchNorm3d,
)
from bnlens.nn._micro_batches import shared_statistics
from bnlens.nn._order import groups
from bnlens.nn._padding import masked
from bnlens.nn._partial_noise import PartialNoise1d, PartialNoise2d, PartialNoise3d, use_partial_noise
from bnlens.nn._regulariser import Regulariser
from bnlens.nn._streams import add_streams, stream
from bnlens.nn._untracked import untracked
from bnlens.nn._window import matching_window
from bnlens.nn._window_state import load_window_state, window_state

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CurvaturePenalty",
    "DialBatchNorm",
    "GammaDecay",
    "PartialNoise1d",
    "PartialNoise2d",
    "PartialNoise3d",
    "PopulationBatchNorm1d",
    "PopulationBatchNorm2d",
    "PopulationBatchNorm3d",
    "Regulariser",
    "StatisticsBatchSize",
    "add_streams",
    "freeze",
    "groups",
    "load_window_state",
    "masked",
    "matching_window",
    "set_statistics_batch_size",
    "shared_statistics",
    "stream",
    "unfreeze",
    "untracked",
    "unwatch_rows",
    "use_partial_noise",
    "watch_rows",
    "window_state",
]
