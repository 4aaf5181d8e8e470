"""Measure and predict the gap of any PyTorch network with BN layers; `report` is the way in.

`Report.to_frame` has one row per layer and M, with the columns ``measured``, ``exact``, ``fisher`` and ``two_term`` (nats per
sample, each followed by its ``_stderr``), and for layers ``channels``, ``pixels``, ``effective_samples_mean``,
``effective_samples_std``, ``kurtosis``, ``stale_mean``, ``stale_std``, ``gamma_rms`` and ``dead_channels``, explained at
`LayerResult`.
"""

from bnlens.measure._compare import Comparison as Comparison
from bnlens.measure._compare import Difference as Difference
from bnlens.measure._estimate import Estimate as Estimate
from bnlens.measure._recalibrate import Recalibration as Recalibration
from bnlens.measure._recalibrate import recalibrate as recalibrate
from bnlens.measure._report import Prediction as Prediction
from bnlens.measure._report import Report as Report
from bnlens.measure._results import Gaps as Gaps
from bnlens.measure._results import LayerResult as LayerResult
from bnlens.measure._results import NetworkResult as NetworkResult
from bnlens.measure._results import Note as Note
from bnlens.measure._run import report as report

__all__ = [
    "Comparison",
    "Difference",
    "Estimate",
    "Gaps",
    "LayerResult",
    "NetworkResult",
    "Note",
    "Prediction",
    "Recalibration",
    "Report",
    "recalibrate",
    "report",
]
