"""The distance by which batch normalization pulls gamma below its population optimum, to first order in 1/M."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.optimize import brentq

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory.distributions import Distribution, get_distribution
from bnlens.theory.gap import GapLaw, Statistics, gap_law
from bnlens.theory.units import Unit, get_unit

__all__ = ["GammaShrink", "gamma_shrink", "optimal_gamma"]

_STEP = 1e-2


@dataclass(frozen=True)
class GammaShrink:
    """Coefficients c of 1 - gamma_BN / gamma* = c / M, where gamma* minimises the PN loss at fixed beta.

    Attributes:
        gamma: gamma*.
        own: true BN, own-batch statistics, biased variance.
        fresh: statistics of an independent batch.
        decay: the prediction of the paper's gamma decay with zeta constant, 2 M zeta / H_gg.
    """

    gamma: float
    own: float
    fresh: float
    decay: float


@checked
def optimal_gamma(
    unit: str | Unit,
    distribution: str | Distribution,
    *,
    beta: float = 0.0,
    bracket: tuple[float, float] = (0.05, 20.0),
) -> float:
    """Return gamma*, the root of E[l'(gamma x + beta) x] = 0: the minimiser of the PN loss at fixed beta.

    Args:
        unit: a name or a `Unit`.
        distribution: a name or a `Distribution`.
        beta: shift, held fixed.
        bracket: interval in which the gradient changes sign.

    Raises:
        UsageError: for an unknown name, or if the gradient has one sign over the bracket.

    >>> round(optimal_gamma("logistic", "gaussian"), 9)
    2.0
    """
    unit, distribution = get_unit(unit), get_distribution(distribution)

    def gradient(gamma: float) -> float:
        return gap_law(unit, distribution, gamma=gamma, beta=beta).G_g

    if gradient(bracket[0]) * gradient(bracket[1]) > 0:
        raise UsageError(f"The PN loss of unit {unit.name!r} has no optimum of gamma in {bracket}: widen the bracket.")
    return float(brentq(gradient, *bracket, xtol=1e-13, rtol=1e-13))


@checked
def gamma_shrink(unit: str | Unit, distribution: str | Distribution, *, beta: float = 0.0) -> GammaShrink:
    """Predict the shrink of gamma under own-batch and fresh-batch statistics and under the paper's gamma decay.

    1 - gamma_BN / gamma* = (1/M) (d[M gap]/d gamma) / (H_gg gamma*)    at gamma*, beta held fixed.

    The slope is not that of the two-term value Z: at a well-specified optimum, own batch and no skew, it differs by
    gamma (3K/8 H_gg - 1/2 E[l'' x^4]), which halves the shrink of linear, ReLU and softplus-GLM units. The derivative
    of the expansion is a fourth-order central difference of `GapLaw.coefficient`, relative error about 1e-7.
    The arguments are those of `optimal_gamma`, whose default bracket is taken. Source: theory sheet A.3 (c), A.5.

    >>> shrink = gamma_shrink("linear", "gaussian")
    >>> round(shrink.own, 6), round(shrink.fresh, 6), round(shrink.decay, 6)
    (0.75, 2.75, 1.5)
    """
    unit, distribution = get_unit(unit), get_distribution(distribution)
    gamma = optimal_gamma(unit, distribution, beta=beta)
    law = gap_law(unit, distribution, gamma=gamma, beta=beta)
    laws = [gap_law(unit, distribution, gamma=gamma * (1 + k * _STEP), beta=beta) for k in (-2, -1, 1, 2)]
    moved = (_log_slope(laws, "own"), _log_slope(laws, "fresh"), 2 * law.two_term)
    return GammaShrink(gamma, *(slope / (law.H_gg * gamma**2) for slope in moved))


def _log_slope(laws: list[GapLaw], statistics: Statistics) -> float:
    """Return gamma d[M gap]/d gamma from the laws at gamma (1 + k h), k = -2, -1, 1, 2."""
    far_left, left, right, far_right = (law.coefficient(statistics) for law in laws)
    return (8 * (right - left) - (far_right - far_left)) / (12 * _STEP)
