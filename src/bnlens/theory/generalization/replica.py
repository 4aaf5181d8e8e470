"""Replica-symmetric order parameters of ridge-regularised empirical risk minimisation, by fixed-point iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnlens._arguments import NotNegative, Positive, checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray
from bnlens.theory.generalization._field_averages import Activation, FieldAverages, field_averages

__all__ = ["ReplicaSolution", "solve_replica"]

_MEMORY = 4
_MAX_ITERATIONS = 500
_LARGEST_STEP = 2.0


@dataclass(frozen=True)
class ReplicaSolution:
    """Order parameters at one load.

    Attributes:
        alpha: load P/N.
        q: squared norm of the student |v|^2 / N.
        R: cosine of student and teacher, v.w* / (|v| |w*|).
        chi: susceptibility, the response of a sample's field to a force on it.
        training_error: E[(t - g(h*))^2] / 2, per sample.
        objective: training error plus decay q / (2 alpha), the minimum of the training objective per sample.
        iterations: evaluations of the saddle-point equations.
    """

    alpha: float
    q: float
    R: float
    chi: float
    training_error: float
    objective: float
    iterations: int

    @property
    def overlap(self) -> float:
        """v.w* / N."""
        return float(self.R * np.sqrt(self.q))


@checked
def solve_replica(
    alpha: Positive,
    *,
    decay: Positive,
    label_noise: NotNegative = 0.0,
    student: Activation = "relu",
    teacher: Activation = "relu",
    start: ReplicaSolution | None = None,
    tolerance: Positive = 1e-8,
) -> ReplicaSolution:
    """Solve the replica-symmetric saddle point of min_v sum_mu (t - g(v.x))^2 / 2 + decay |v|^2 / 2.

    With the averages of `_field_averages` and rho^2 = 1 - R^2 the saddle point is

        mh = alpha E[f a] / rho,   qh = alpha E[f^2],   Vh = -(alpha / sqrt q)(E[f z] - R E[f a] / rho)
        chi = 1 / (decay + Vh),    m = R sqrt q = mh chi,    q = (mh^2 + qh) chi^2               (theory sheet C.4)

    iterated with Anderson's mixing in log chi, log q and log(rho / R).

    Args:
        alpha: load P/N > 0.
        decay: coefficient lambda > 0 of the ridge, for the sum over samples.
        label_noise: variance S >= 0 of the Gaussian noise on the labels.
        student: "relu" or "linear".
        teacher: "relu" or "linear".
        start: a solution nearby.
        tolerance: largest change of the three logarithms in a last step.

    Returns:
        The solution: exact as N -> infinity for a linear student; for a ReLU student the loss is not convex in the
        field, replica symmetry is broken, and the solution is an approximation.

    Raises:
        UsageError: for a load, decay or tolerance that is not positive, a negative label noise, an unknown activation, or
            an iteration that does not converge.

    >>> solution = solve_replica(4.0, decay=0.25, label_noise=0.25)
    >>> round(solution.objective, 4), round(solution.R, 3)
    (0.1225, 0.879)
    """
    average: FieldAverages | None = None

    def update(state: FloatArray) -> FloatArray:
        nonlocal average
        chi, q, ratio = (float(value) for value in np.exp(state))
        R, rho = 1 / np.hypot(1.0, ratio), ratio / np.hypot(1.0, ratio)
        average = field_averages(q=q, ratio=ratio, chi=chi, label_noise=label_noise, student=student, teacher=teacher)
        along = average.f_a / rho
        mh, qh = alpha * along, alpha * average.f_squared
        Vh = -alpha / np.sqrt(q) * (average.f_z - R * along)
        if not (mh > 0 and decay + Vh > 0):
            return np.full(3, np.nan)
        new_chi = 1 / (decay + Vh)
        return np.log([new_chi, (mh**2 + qh) * new_chi**2, np.sqrt(qh) / mh])

    starts = [np.log([1 / (decay + alpha), 0.5, 1.0])]
    if start is not None:
        starts.insert(0, np.log([start.chi, start.q, np.sqrt(1 - start.R**2) / start.R]))
    iterations = 0
    for first in starts:  # a start from too far away may lead out of the range of the parameters
        state, count = _anderson(update, first, tolerance)
        iterations += count
        if state is not None:
            break
    if state is None or average is None:
        raise UsageError(
            f"The replica equations at alpha={alpha:g}, decay={decay:g}, label_noise={label_noise:g} do not converge: "
            "use a larger decay."
        )
    chi, q, ratio = (float(value) for value in np.exp(state))
    return ReplicaSolution(
        alpha=float(alpha),
        q=q,
        R=float(1 / np.hypot(1.0, ratio)),
        chi=chi,
        training_error=average.loss,
        objective=average.loss + decay * q / (2 * alpha),
        iterations=iterations,
    )


def _anderson(
    update: Callable[[FloatArray], FloatArray], state: FloatArray, tolerance: float
) -> tuple[FloatArray | None, int]:
    """Return the fixed point of ``update``, or None, and the number of evaluations.

    The next state is the combination of the last images whose residuals cancel best in the least-squares sense; a
    state that would go far is replaced by a damped plain step.
    """
    states: list[FloatArray] = []
    residuals: list[FloatArray] = []
    for iteration in range(1, _MAX_ITERATIONS + 1):
        image = update(state)
        residual = image - state
        if not np.all(np.isfinite(image)):
            return None, iteration
        if np.max(np.abs(residual)) < tolerance:
            return image, iteration
        states, residuals = [*states[-_MEMORY:], state], [*residuals[-_MEMORY:], residual]
        proposal = state + 0.5 * residual
        if len(states) > 1:
            d_state, d_residual = np.diff(states, axis=0), np.diff(residuals, axis=0)
            weights = np.linalg.lstsq(d_residual.T, residual, rcond=1e-10)[0]
            mixed = image - weights @ (d_state + d_residual)
            if np.all(np.isfinite(mixed)) and np.max(np.abs(mixed - state)) < _LARGEST_STEP:
                proposal = mixed
        state = proposal
    return None, _MAX_ITERATIONS
