"""Fixed points, their stability, and the learning rates that follow, for the systems of `bnlens.theory.dynamics`.

All at *frozen norm*, |w| restored after each step, where a maximum learning rate exists. With a norm that is free to grow
weight normalization, gamma decay and BN have none: L grows until the effective learning rate is small enough. Label noise
moves the fixed point and not the rates: they are those without it. Source: theory sheet B.2, B.3.

============  ================  =======================================================================
linear unit   gamma0            eta_max / L^2, batches of M
============  ================  =======================================================================
`SGD`         1                 2M (L = 1)
`WeightNorm`  1                 2M
`GammaDecay`  1/(1 + 2 zeta)    2M (1 + 2 zeta)^3 / (1 + 2 zeta - 2 zeta^2) = 2M (1 + 4 zeta + ...)
`BatchNorm`   c_M               2 (M - 3) b_M / c_M = 2(M - 1) + ...
============  ================  =======================================================================

ReLU units: 2M, 2M, 2M (1 + 4 zeta)^3 / (1 + 4 zeta - 8 zeta^2) with gamma0 = 1/(1 + 4 zeta), and by quadrature. With a ReLU
unit BN keeps some noise even at the teacher, from samples whose sign the batch mean turns, so that R leaves 1 gradually and
well below eta_max: `stationary_state` says more there.

The functions take a system of `bnlens.theory.dynamics`, whose learning rate counts where no other is looked for, and the norm L
that is kept. They raise `UsageError` unless L is a positive number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory.dynamics import Averages, BatchNorm, System, UnitName, WeightNorm

__all__ = [
    "FixedPoint",
    "Ordering",
    "Stability",
    "StationaryState",
    "effective_learning_rate",
    "fixed_point",
    "max_learning_rate",
    "orderings",
    "stability",
    "stationary_state",
]

_ANGLE, _POINTS, _DEGREE = 0.01, 8, 6


@dataclass(frozen=True)
class FixedPoint:
    """The fixed point of gamma once the student points at the teacher, R = 1.

    Attributes:
        gamma: gamma0, the root of the gain at R = 1.
        R: 1.
        noise: mean square of the step across the weights that is left there, label noise included. Unless it is zero,
            nothing stays there: R is pushed below 1 and the norm grows.
    """

    gamma: float
    R: float
    noise: float

    @property
    def is_fixed(self) -> bool:
        """True if a student that starts there stays."""
        return self.noise < 1e-12


@dataclass(frozen=True)
class Stability:
    """Rates at which small deviations from R = 1, gamma = gamma0 change per unit of tau; negative ones decay.

    Attributes:
        gamma: of gamma - gamma0 at R = 1.
        overlap: of 1 - R at gamma0 and frozen norm.
    """

    gamma: float
    overlap: float

    @property
    def is_stable(self) -> bool:
        """True if both decay."""
        return self.gamma < 0 and self.overlap < 0


@dataclass(frozen=True)
class StationaryState:
    """The end of training at frozen norm: gamma and R."""

    gamma: float
    R: float


@dataclass(frozen=True)
class Ordering:
    """One ordering of learning rates that the paper claims, with its two sides.

    Attributes:
        quantity: ``"maximum"`` or ``"effective"`` learning rate.
        model: ``"GammaDecay"`` or ``"BatchNorm"``, whose rate should be at least the bound.
        rate: that rate.
        bound: the rate of weight normalization (that of SGD at norm one) plus 2 zeta (maximum) or zeta (effective).
    """

    quantity: Literal["maximum", "effective"]
    model: str
    rate: float
    bound: float

    @property
    def holds(self) -> bool:
        """True if rate >= bound."""
        return self.rate >= self.bound


@checked
def fixed_point(system: System) -> FixedPoint:
    """Return gamma0 and the noise that is left at R = 1.

    >>> from bnlens.theory.dynamics import BatchNorm
    >>> system = BatchNorm(unit="linear", learning_rate=1.0, batch_size=8)
    >>> round(fixed_point(system).gamma, 5), fixed_point(system).is_fixed
    (0.9027, True)
    >>> decay = fixed_point(system.as_gamma_decay())
    >>> round(decay.gamma, 5), round(decay.noise, 5), decay.is_fixed
    (0.84211, 0.00312, False)
    """
    gamma = _settled_gamma(system, 1.0)
    return FixedPoint(gamma, 1.0, system.averages(gamma, 1.0).noise)


@checked
def stability(system: System, *, norm: float = 1.0) -> Stability:
    """Return the rates of small deviations from gamma0 and R = 1 at frozen norm, without label noise.

    1 - R = r obeys dr/dtau = [ -e a + (e^2/2)(n1 - n0) ] r + e^2 n0/2, e = eta gamma0/L^2, with the slopes a of the
    alignment and n1 of the noise in r and the noise n0 at r = 0. For ReLU units corrections are of order r^(3/2).
    """
    gamma, slopes, left = _linearised(system)
    rate = system.learning_rate * gamma / _squared(norm)
    overlap = -rate * slopes.alignment + rate**2 / 2 * (slopes.noise - left)
    gain = system.averages(1.0, 1.0).gain - system.averages(0.0, 1.0).gain
    return Stability(gamma=system.learning_rate * gain, overlap=overlap)


@checked
def max_learning_rate(system: System, *, norm: float = 1.0) -> float:
    """Return the learning rate above which a student at R = 1 and frozen norm turns away from the teacher.

    eta_max = e_max L^2/gamma0, e_max = 2 a/(n1 - n0) in the words of `stability`; infinite if n1 <= n0. The learning rate
    and the label noise of the system do not matter. For `SGD` norm and gamma are 1. Closed forms: see the module. A
    linear unit diverges above under `SGD`; a ReLU unit may settle beside the teacher. `SGD` raises `UsageError` unless L = 1.

    >>> from bnlens.theory.dynamics import BatchNorm, WeightNorm
    >>> batch_norm = BatchNorm(unit="linear", learning_rate=1.0, batch_size=8)
    >>> weight_norm = WeightNorm(unit="linear", learning_rate=1.0, batch_size=8)
    >>> systems = (weight_norm, batch_norm, batch_norm.as_gamma_decay())
    >>> [round(max_learning_rate(system), 2) for system in systems]
    [16.0, 13.33, 22.9]
    """
    if system.tied and norm != 1:
        raise UsageError(f"norm={norm!r} is not possible for {type(system).__name__}: its norm is its gamma, 1 here.")
    gamma, slopes, left = _linearised(system)
    drive = slopes.noise - left
    return 2 * slopes.alignment / drive * _squared(norm) / gamma if drive > 0 else math.inf


@checked
def effective_learning_rate(system: System, *, norm: float = 1.0) -> float:
    """Return eta gamma0/L^2, the learning rate with which the direction of the weights moves near the teacher."""
    return system.learning_rate * _settled_gamma(system, 1.0) / _squared(norm)


@checked
def stationary_state(system: System, *, norm: float = 1.0) -> StationaryState:
    """Return where training at frozen norm ends, label noise included.

    Without label noise a linear unit with `WeightNorm` or `BatchNorm` ends at R = 1 up to eta_max and at
    R^2 = eta_max/eta above (exact), with gamma = R gamma0. `GammaDecay` never quite reaches R = 1. Of several
    states the one nearest to the teacher is returned. Raises `UsageError` for `SGD`, which has no frozen norm.

    >>> from bnlens.theory.dynamics import BatchNorm
    >>> state = stationary_state(BatchNorm(unit="linear", learning_rate=20.0, batch_size=8))
    >>> round(state.R, 4), round(state.R**2 * 20, 2)
    (0.8165, 13.33)
    """
    if system.tied:
        raise UsageError(f"{type(system).__name__} has no frozen norm: solve for its trajectory instead.")
    squared = _squared(norm)

    def turn(distance: float) -> float:
        """Return the drift of R at R = 1 - distance over the effective rate, gamma settled."""
        gamma, alignment, noise = _settled(replace(system, learning_rate=1.0), 1 - distance)
        return alignment - (1 - distance) * system.learning_rate * gamma / squared / 2 * noise

    distances = np.logspace(-12, 0, 61)
    outward = next((index for index, place in enumerate(distances) if turn(float(place)) > 0), None)
    distance = 0.0
    if outward is None:
        distance = 1.0  # at R = 0 gamma settles at zero for a linear unit and nothing turns the weights
    elif outward > 0:
        distance = float(brentq(turn, distances[outward - 1], distances[outward], xtol=1e-14))
    return StationaryState(_settled_gamma(system, 1 - distance), 1 - distance)


@lru_cache(maxsize=10_000)
def _settled(system: System, R: float) -> tuple[float, float, float]:
    """Return gamma where it settles at an overlap, alignment and noise there; no learning rate moves these."""
    gamma = _settled_gamma(system, R)
    _, alignment, noise = system.averages(gamma, R)
    return gamma, alignment, noise


@checked
def orderings(unit: UnitName, batch_size: int, *, norm: float = 1.0) -> tuple[Ordering, ...]:
    """Return the paper's orderings of learning rates, judged for its own model of BN and for BN itself.

    eta_max(BN) >= eta_max(WN) + 2 zeta, and eta_eff(BN) >= eta_eff(WN) + zeta at one learning rate (1 here) and norm (1 in
    the paper), for a unit ``"linear"`` or ``"relu"`` and M >= 4; `UsageError` for others.

    >>> [(ordering.quantity, ordering.model, ordering.holds) for ordering in orderings("linear", 8)]
    [('maximum', 'GammaDecay', True), ('maximum', 'BatchNorm', False),
     ('effective', 'GammaDecay', False), ('effective', 'BatchNorm', False)]
    """
    batch_norm = BatchNorm(unit=unit, learning_rate=1.0, batch_size=batch_size)
    weight_norm = WeightNorm(unit=unit, learning_rate=1.0, batch_size=batch_size)
    decay = batch_norm.as_gamma_decay()
    largest = max_learning_rate(weight_norm, norm=norm) + 2 * decay.zeta
    effective = effective_learning_rate(weight_norm, norm=norm) + decay.zeta
    models = {"GammaDecay": decay, "BatchNorm": batch_norm}
    return (
        *(Ordering("maximum", name, max_learning_rate(m, norm=norm), largest) for name, m in models.items()),
        *(Ordering("effective", name, effective_learning_rate(m, norm=norm), effective) for name, m in models.items()),
    )


def _settled_gamma(system: System, R: float) -> float:
    """Return the root in gamma of the gain, which is linear in gamma for all systems and both units."""
    at_zero, at_one = (system.averages(gamma, R).gain for gamma in (0.0, 1.0))
    return at_zero / (at_zero - at_one)


def _linearised(system: System) -> tuple[float, Averages, float]:
    """Return gamma0, the slopes of the averages in 1 - R at R = 1, and the noise there, all without label noise.

    The error of the slopes is about 1e-6 of functions of order one. ReLU units have terms in (1 - R)^(3/2), so a polynomial
    in theta = arccos R is fitted: f = f(1) + f2 theta^2 + ..., and 1 - R = theta^2/2 makes the slope 2 f2.
    """
    quiet = replace(system, label_noise=0.0)
    gamma = _settled_gamma(quiet, 1.0)
    settled = quiet.averages(gamma, 1.0)
    angles = np.arange(1, _POINTS + 1) / _POINTS
    rises = np.array([quiet.averages(gamma, float(np.cos(_ANGLE * angle))) for angle in angles]) - np.array(settled)
    powers = angles[:, None] ** np.arange(2, _DEGREE + 1)
    slopes = 2 * np.linalg.lstsq(powers, rises, rcond=None)[0][0] / _ANGLE**2
    return gamma, Averages(*slopes.tolist()), settled.noise


def _squared(norm: float) -> float:
    if not 0 < norm < math.inf:
        raise UsageError(f"norm={norm!r} must be a positive number.")
    return norm**2
