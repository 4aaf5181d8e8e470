"""Learning curves of one normalised unit: its order parameters as differential equations, N -> infinity.

One class per way of training; each holds its rates and sizes, `solve` returns a `Trajectory`, and
`bnlens.simulate.simulate_dynamics` trains a student of finite size on the same object.

============  =============================================================================
class         what is trained
============  =============================================================================
`SGD`         y = g(w . x), no normalization
`WeightNorm`  weight normalization; also normalization with population statistics
`GammaDecay`  weight normalization with the penalty zeta gamma^2, the paper's model of BN
`BatchNorm`   true BN, statistics of the batch itself
============  =============================================================================

>>> from bnlens.theory.dynamics import BatchNorm
>>> trajectory = BatchNorm(unit="relu", learning_rate=1.0, batch_size=8, label_noise=0.25).solve([0, 8], gamma=0.5)
>>> trajectory.to_frame().round(3)
     gamma      R      L  generalization_error
tau
0.0  0.500  0.000  1.000                 0.233
8.0  0.647  0.771  1.044                 0.094
"""

from __future__ import annotations

from bnlens.theory.dynamics._averages import Averages, UnitName, generalization_error
from bnlens.theory.dynamics._system import COLUMNS, System, Trajectory
from bnlens.theory.dynamics.batch_norm import BatchNorm
from bnlens.theory.dynamics.gamma_decay import GammaDecay
from bnlens.theory.dynamics.sgd import SGD
from bnlens.theory.dynamics.weight_norm import WeightNorm
from bnlens.theory.zeta import paper_zeta

__all__ = [
    "COLUMNS",
    "SGD",
    "Averages",
    "BatchNorm",
    "GammaDecay",
    "System",
    "Trajectory",
    "UnitName",
    "WeightNorm",
    "generalization_error",
    "paper_zeta",
]
