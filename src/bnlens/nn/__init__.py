"""Batch normalization whose statistics batch size is a number the user sets, whatever batch the device holds.

The layers subclass torch's, keep their parameters, buffers and ``state_dict`` keys, and take one more argument:
``statistics_batch_size``, None, an int from 2 on, or ``math.inf``. Where it is below the optimizer's batch, the field calls it
the ghost or virtual batch size.
"""

from bnlens.nn._base import DialBatchNorm as DialBatchNorm
from bnlens.nn._controls import freeze as freeze
from bnlens.nn._controls import set_statistics_batch_size as set_statistics_batch_size
from bnlens.nn._controls import unfreeze as unfreeze
from bnlens.nn._curvature import CurvaturePenalty as CurvaturePenalty
from bnlens.nn._gamma_decay import GammaDecay as GammaDecay
from bnlens.nn._layers import BatchNorm1d as BatchNorm1d
from bnlens.nn._layers import BatchNorm2d as BatchNorm2d
from bnlens.nn._layers import BatchNorm3d as BatchNorm3d
from bnlens.nn._layers import PopulationBatchNorm1d as PopulationBatchNorm1d
from bnlens.nn._layers import PopulationBatchNorm2d as PopulationBatchNorm2d
from bnlens.nn._layers import PopulationBatchNorm3d as PopulationBatchNorm3d
from bnlens.nn._micro_batches import shared_statistics as shared_statistics
from bnlens.nn._partial_noise import PartialNoise1d as PartialNoise1d
from bnlens.nn._partial_noise import PartialNoise2d as PartialNoise2d
from bnlens.nn._partial_noise import PartialNoise3d as PartialNoise3d
from bnlens.nn._partial_noise import use_partial_noise as use_partial_noise
from bnlens.nn._regulariser import Regulariser as Regulariser
from bnlens.nn._window import matching_window as matching_window

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
    "freeze",
    "matching_window",
    "set_statistics_batch_size",
    "shared_statistics",
    "unfreeze",
    "use_partial_noise",
]
