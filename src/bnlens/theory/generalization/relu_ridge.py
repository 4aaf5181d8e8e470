"""ReLU student with ridge, by replica-symmetric theory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar

from bnlens._arguments import NotNegative, Positive, checked
from bnlens.theory._check import FloatArray
from bnlens.theory.arc_cosine import rectified_product
from bnlens.theory.generalization._estimator import LoadArray, OrderParameters, Status
from bnlens.theory.generalization._field_averages import Activation
from bnlens.theory.generalization.replica import ReplicaSolution, solve_replica

__all__ = ["ReluRidge"]

_BRACKET = (-7.0, 3.0)  # of log decay


@checked
@dataclass(frozen=True)
class ReluRidge:
    """Empirical risk minimisation min_v sum_mu (t - max(v.x, 0))^2 / 2 + lambda |v|^2 / 2.

    Inputs x ~ N(0, I/N), labels t = g(w*.x) + s with |w*|^2 = N and Var s = S. The error follows from the norm q and the
    cosine R of the replica-symmetric solution (`solve_replica`), with K1 of
    `bnlens.theory.rectified_product`:

        ReLU teacher:    [ 1/2 + q/2 - 2 sqrt(q) K1(R) ] / 2
        linear teacher:  [ 1 + q/2 - sqrt(q) R ] / 2

    Approximate: the loss is not convex, so replica symmetry is broken and there are many minima; the curve is about that
    of descent from small weights for lambda >= 0.25 and up to a fifth too high for lambda = 0.05 at loads of 2 to 4.
    Source: theory sheet C.4.

    Attributes:
        decay: lambda > 0, of the sum over samples.
        label_noise: S.
        teacher: "relu" or "linear".

    Raises:
        UsageError: for a decay that is not positive, a negative label noise or an unknown teacher.

    >>> from bnlens.theory.generalization import learning_curve
    >>> learning_curve(ReluRidge(decay=0.25, label_noise=0.25), alpha=[1, 2, 8]).error.round(4).tolist()
    [0.1488, 0.1029, 0.0213]
    """

    decay: Positive
    label_noise: NotNegative = 0.0
    teacher: Activation = "relu"

    status: ClassVar[Status] = "approximate"
    basis: ClassVar[str] = "Replica symmetry, which is broken: the loss of a ReLU student is not convex."

    @property
    def title(self) -> str:
        """Name in legends."""
        return f"ReLU student, λ = {self.decay:g}"

    @checked
    def order_parameters(self, alpha: LoadArray) -> OrderParameters:
        """Return the order parameters at loads alpha, each solved from its neighbour's solution."""
        found: dict[int, ReplicaSolution] = {}
        last: ReplicaSolution | None = None
        for index in np.argsort(alpha):
            last = found[int(index)] = solve_replica(
                float(alpha[index]), decay=self.decay, label_noise=self.label_noise, teacher=self.teacher, start=last
            )
        solutions = [found[index] for index in range(len(alpha))]
        return OrderParameters(
            error=np.array([self._error(solution) for solution in solutions]),
            overlap=np.array([solution.overlap for solution in solutions]),
            norm=np.array([solution.q for solution in solutions]),
            training_error=np.array([solution.training_error for solution in solutions]),
        )

    @checked
    def best_decay(self, alpha: LoadArray) -> FloatArray:
        """Return the lambda of least error at each load, searched for between 1e-3 and 20 to 0.1%."""

        def error(log_decay: float, load: float) -> float:
            student = self.with_decay(float(np.exp(log_decay)))
            return float(student.order_parameters(np.array([load])).error[0])

        found = [minimize_scalar(error, bounds=_BRACKET, args=(load,), options={"xatol": 1e-3}).x for load in alpha]
        return np.exp(found)

    @checked
    def with_decay(self, decay: Positive) -> ReluRidge:
        """Return the same with another lambda."""
        return replace(self, decay=decay)

    def _error(self, solution: ReplicaSolution) -> float:
        if self.teacher == "linear":
            return (1 + solution.q / 2 - solution.overlap) / 2
        return float((0.5 + solution.q / 2 - 2 * np.sqrt(solution.q) * rectified_product(solution.R)) / 2)
