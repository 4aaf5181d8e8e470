"""Measure and predict the gap of any PyTorch network with BN layers; `report` is the way in.

`Report.to_frame` has one row per layer and M, with the columns ``measured``, ``share``, ``predicted``, ``ratio``
(predicted over measured) and, where the report has them, ``logits``, ``first_order``, ``fisher`` and ``two_term`` (nats per
sample but for the ratio, each followed by its ``_stderr``), for the network ``as_loaded``, explained at `NetworkResult`, and
for layers ``channels``, ``pixels``, ``effective_samples_mean``, ``effective_samples_std``, ``kurtosis``, ``stale_mean``,
``stale_std``, ``gamma_rms`` and ``dead_channels``, explained at `LayerResult`.
"""

from bnlens.measure._arguments import Loader, check_request
from bnlens.measure._compare import Comparison, Difference
from bnlens.measure._dead import dead_channels
from bnlens.measure._estimate import Estimate
from bnlens.measure._merge import merge_statistics
from bnlens.measure._recalibrate import Recalibration, recalibrate
from bnlens.measure._report import Prediction, Predictions, Report
from bnlens.measure._results import Gaps, LayerResult, NetworkResult, Note
from bnlens.measure._run import report

__all__ = [
    "Comparison",
    "Difference",
    "Estimate",
    "Gaps",
    "LayerResult",
    "Loader",
    "NetworkResult",
    "Note",
    "Prediction",
    "Predictions",
    "Recalibration",
    "Report",
    "check_request",
    "dead_channels",
    "merge_statistics",
    "recalibrate",
    "report",
]
