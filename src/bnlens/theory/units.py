"""Units: an activation, a loss and a teacher, with derivatives of the expected loss in the pre-activation.

A unit sees y = gamma x + beta and is scored against a target t whose law depends on x. Every loss here is linear in t
up to a term free of y, so the average over t given x is taken exactly and only E[t|x] enters: the *risk* r(y, x) is the
loss averaged over t, the term free of y dropped. Losses are in nats per sample (squared errors: half the square).
Source: theory sheet A.0, A.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, ndtr, spence

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray, check_choice, normal_density

__all__ = ["UNITS", "Kink", "Unit", "get_unit", "linear", "logistic", "poisson", "relu", "softplus_glm"]

RiskFunction = Callable[[FloatArray, FloatArray], FloatArray]


@checked
@dataclass(frozen=True)
class Kink:
    """A jump of the slope of the risk: at pre-activation `output` the slope rises by `jump(x)`.

    It adds jump(x) delta(y - output) to the curvature; a Gauss-Newton Hessian drops that term (theory sheet A.0).
    """

    output: float
    jump: Callable[[FloatArray], FloatArray] = field(repr=False)


@checked
@dataclass(frozen=True)
class Unit:
    """The expected loss of one unit as a function of its pre-activation, with two derivatives.

    Attributes:
        name: how messages and tables call it.
        risk: r(y, x) = E[l(y, t) | x] up to a term free of y; vectorised, y and x of one shape.
        slope: dr/dy.
        curvature: d2r/dy2 away from the kinks.
        kinks: jumps of the slope.
        target_variance: Var[t|x] where the loss is the negative log-likelihood of the target, else None.
    """

    name: str
    risk: RiskFunction = field(repr=False)
    slope: RiskFunction = field(repr=False)
    curvature: RiskFunction = field(repr=False)
    kinks: tuple[Kink, ...] = field(default=(), repr=False)
    target_variance: Callable[[FloatArray], FloatArray] | None = field(default=None, repr=False)


def softplus(y: FloatArray) -> FloatArray:
    """log(1 + e^y) without overflow."""
    return np.logaddexp(0.0, y)


def _softplus_integral(y: FloatArray) -> FloatArray:
    # -Li2(-e^y); the inversion formula keeps e^y finite for large y.
    tail = -spence(1 + np.exp(-np.abs(y)))
    return np.where(y > 0, y**2 / 2 + np.pi**2 / 6 - tail, tail)


@checked
def linear(correlation: float = 0.8) -> Unit:
    """Linear unit with squared loss (t - y)^2 / 2 and a teacher E[t|x] = R x, R = `correlation`, with noise of variance one."""
    return Unit(
        name="linear",
        risk=lambda y, x: y**2 / 2 - correlation * x * y,
        slope=lambda y, x: y - correlation * x,
        curvature=lambda y, x: np.ones_like(y),
        target_variance=np.ones_like,
    )


@checked
def logistic(teacher_gamma: float = 2.0, teacher_beta: float = 0.0) -> Unit:
    """Logistic unit with cross-entropy softplus(y) - t y and P(t = 1|x) = sigmoid(teacher_gamma x + teacher_beta)."""
    return Unit(
        name="logistic",
        risk=lambda y, x: softplus(y) - expit(teacher_gamma * x + teacher_beta) * y,
        slope=lambda y, x: expit(y) - expit(teacher_gamma * x + teacher_beta),
        curvature=lambda y, x: expit(y) * (1 - expit(y)),
        target_variance=lambda x: expit(teacher_gamma * x + teacher_beta) * expit(-teacher_gamma * x - teacher_beta),
    )


@checked
def relu(correlation: float = 0.8) -> Unit:
    """Rectified linear unit with squared loss (t - max(y, 0))^2 / 2 and a rectified teacher seen through noise.

    t = max(u, 0) with u = R x + r n, r^2 = 1 - R^2, n Gaussian, so E[t|x] = R x Phi(R x / r) + r phi(R x / r). At the
    `correlation` R = 1 the unit is well specified with optimum gamma = 1, beta = 0; outside [-1, 1] it is a `UsageError`.
    """
    if not -1 <= correlation <= 1:
        raise UsageError(f"correlation={correlation} of the ReLU teacher is outside [-1, 1].")
    spread = float(np.sqrt(1 - correlation**2))

    def teacher(x: FloatArray) -> FloatArray:
        u = correlation * x
        if spread == 0:
            return np.maximum(u, 0)
        return np.asarray(u * ndtr(u / spread) + spread * normal_density(u / spread))

    return Unit(
        name="relu",
        risk=lambda y, x: np.maximum(y, 0) ** 2 / 2 - teacher(x) * np.maximum(y, 0),
        slope=lambda y, x: np.where(y > 0, y - teacher(x), 0.0),
        curvature=lambda y, x: (y > 0).astype(np.float64),
        kinks=(Kink(0.0, lambda x: -teacher(x)),),
    )


@checked
def softplus_glm(teacher_gamma: float = 1.5, teacher_beta: float = 0.0) -> Unit:
    """The unit of arXiv 1809.00846: negative log-likelihood A(y) - t y with A' = softplus.

    The teacher is E[t|x] = softplus(teacher_gamma x + teacher_beta). The curvature sigmoid(y) does not depend on the labels
    (canonical link), so the Hessian is the Fisher information.
    """
    return Unit(
        name="softplus_glm",
        risk=lambda y, x: _softplus_integral(y) - softplus(teacher_gamma * x + teacher_beta) * y,
        slope=lambda y, x: softplus(y) - softplus(teacher_gamma * x + teacher_beta),
        curvature=lambda y, x: expit(y),
        target_variance=lambda x: expit(teacher_gamma * x + teacher_beta),
    )


@checked
def poisson(teacher_gamma: float = 1.5, teacher_beta: float = 0.5) -> Unit:
    """Poisson unit with rate softplus(y), loss softplus(y) - t log softplus(y) and the teacher of `softplus_glm`."""

    def rate(x: FloatArray) -> FloatArray:
        return softplus(teacher_gamma * x + teacher_beta)

    def log_slope(y: FloatArray) -> FloatArray:
        # d log softplus(y) / dy, which tends to 1 on the left, where both factors underflow.
        safe = np.maximum(y, -700.0)
        return expit(safe) / softplus(safe)

    def curvature(y: FloatArray, x: FloatArray) -> FloatArray:
        p, q = expit(y), log_slope(y)
        return p * (1 - p) - rate(x) * q * (1 - p - q)

    return Unit(
        name="poisson",
        # log softplus(y) = y + O(e^y): below -40 the correction is under the rounding error.
        risk=lambda y, x: softplus(y) - rate(x) * np.where(y < -40, y, np.log(softplus(np.maximum(y, -40.0)))),
        slope=lambda y, x: expit(y) - rate(x) * log_slope(y),
        curvature=curvature,
    )


UNITS: dict[str, Callable[..., Unit]] = {
    make.__name__: make for make in (linear, logistic, relu, softplus_glm, poisson)
}
"""The five named units; their default teachers are those of the table of theory sheet A.4."""


@checked
def get_unit(unit: str | Unit) -> Unit:
    """Return the unit of a name with its default teacher, or the unit itself.

    Raises:
        UsageError: if the name is unknown.
    """
    return unit if isinstance(unit, Unit) else UNITS[check_choice("unit", unit, UNITS)]()
