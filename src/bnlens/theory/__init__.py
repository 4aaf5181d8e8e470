"""Closed forms of the theory sheet, NumPy and SciPy only.

Here: law of the batch statistics, the gap, the shrink of gamma. `bnlens.theory.dynamics` has order parameters along training,
`bnlens.theory.learning_rate` fixed points and learning rates, `bnlens.theory.generalization` learning curves over the load.
"""

from __future__ import annotations

from bnlens.theory import dynamics, generalization, learning_rate
from bnlens.theory.arc_cosine import gated_square, rectified_product
from bnlens.theory.distributions import DISTRIBUTIONS, Distribution, Population, get_distribution
from bnlens.theory.gap import GapLaw, GapShares, Hessian, Statistics, gap_law, linear_gamma, linear_gap
from bnlens.theory.gaussian import mean_inverse_std, mean_inverse_variance, mean_std
from bnlens.theory.information import squared_gradient
from bnlens.theory.noise import BatchNoise, noise_scale
from bnlens.theory.shrink import GammaShrink, gamma_shrink, optimal_gamma
from bnlens.theory.units import UNITS, Kink, Unit, get_unit, linear, logistic, poisson, relu, softplus_glm
from bnlens.theory.zeta import paper_zeta

__all__ = [
    "DISTRIBUTIONS",
    "UNITS",
    "BatchNoise",
    "Distribution",
    "GammaShrink",
    "GapLaw",
    "GapShares",
    "Hessian",
    "Kink",
    "Population",
    "Statistics",
    "Unit",
    "dynamics",
    "gamma_shrink",
    "gap_law",
    "gated_square",
    "generalization",
    "get_distribution",
    "get_unit",
    "learning_rate",
    "linear",
    "linear_gamma",
    "linear_gap",
    "logistic",
    "mean_inverse_std",
    "mean_inverse_variance",
    "mean_std",
    "noise_scale",
    "optimal_gamma",
    "paper_zeta",
    "poisson",
    "rectified_product",
    "relu",
    "softplus_glm",
    "squared_gradient",
]
