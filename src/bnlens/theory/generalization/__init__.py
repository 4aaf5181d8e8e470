"""Generalization over the load alpha = P/N: one estimator per file, and the curve of any of them.

Training sets have P = alpha N inputs x ~ N(0, I/N) with labels t = g(w*.x) + s from a teacher |w*|^2 = N, Var s = S. Errors
are E[(g(w*.x) - student)^2] / 2, against labels without noise. Source: theory sheet C.
"""

from __future__ import annotations

from bnlens.theory.generalization._estimator import DecayEstimator, Estimator, Loads, OrderParameters, Status
from bnlens.theory.generalization.batch_norm import BatchNorm
from bnlens.theory.generalization.curve import LearningCurve, OptimalDecay, learning_curve, optimal_decay
from bnlens.theory.generalization.least_squares import LeastSquares
from bnlens.theory.generalization.relu_ridge import ReluRidge
from bnlens.theory.generalization.replica import ReplicaSolution, solve_replica
from bnlens.theory.generalization.ridge import Ridge
from bnlens.theory.generalization.weight_norm import (
    WeightNormDecay,
    gamma_decay_to_ridge,
    paper_gamma_decay,
    ridge_to_gamma_decay,
)

__all__ = [
    "BatchNorm",
    "DecayEstimator",
    "Estimator",
    "LearningCurve",
    "LeastSquares",
    "Loads",
    "OptimalDecay",
    "OrderParameters",
    "ReluRidge",
    "ReplicaSolution",
    "Ridge",
    "Status",
    "WeightNormDecay",
    "gamma_decay_to_ridge",
    "learning_curve",
    "optimal_decay",
    "paper_gamma_decay",
    "ridge_to_gamma_decay",
    "solve_replica",
]
