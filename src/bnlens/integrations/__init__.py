"""Batch normalization watched and set where people train.

The classes here serve a loop that one writes by hand, with or without Accelerate. `bnlens.integrations.lightning` and
`bnlens.integrations.transformers` have callbacks of the same names; neither package is imported before its module is. After
training, and for averaged weights (`torch.optim.swa_utils.AveragedModel`), a loop calls `bnlens.recalibrate`.
"""

from bnlens.integrations._dial import SetStatisticsBatchSize
from bnlens.integrations._gap import GapMonitor

__all__ = ["GapMonitor", "SetStatisticsBatchSize"]
