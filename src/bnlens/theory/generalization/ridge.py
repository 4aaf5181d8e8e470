"""Ridge regression: least squares with a penalty on the squared norm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bnlens._arguments import NotNegative, Positive, checked
from bnlens.theory._check import FloatArray
from bnlens.theory.generalization._estimator import LoadArray, OrderParameters, Status

__all__ = ["Ridge", "ridge_order_parameters"]


@checked
@dataclass(frozen=True)
class Ridge:
    """Ridge regression, min_v sum_mu (t - v.x)^2 / 2 + lambda |v|^2 / 2; linear student of a linear teacher.

    With m(lambda) = tr (X^T X + lambda)^-1 / N, which solves lambda m^2 + (lambda + alpha - 1) m = 1, and its derivative m',

        error = [ -lambda^2 m' + S (m + lambda m') ] / 2

    for inputs and labels as in `LeastSquares`. The optimum is lambda = S at every load, with error S m(S) / 2.
    Source: theory sheet C.2.

    Attributes:
        decay: lambda > 0, of the *sum* over samples. For the mean over P samples plus c |v|^2 / 2 it is c P.
        label_noise: S.

    Raises:
        UsageError: for a decay that is not positive or a negative label noise.

    >>> from bnlens.theory.generalization import learning_curve
    >>> learning_curve(Ridge(decay=0.1, label_noise=0.25), alpha=[0.5, 1, 2]).error.round(4).tolist()
    [0.3298, 0.2206, 0.0963]
    """

    decay: Positive
    label_noise: NotNegative = 0.0

    status: ClassVar[Status] = "asymptotic"
    basis: ClassVar[str] = "Exact as N grows at fixed P/N (Marchenko-Pastur law of the inputs)."

    @property
    def title(self) -> str:
        """Name in legends."""
        return f"ridge, λ = {self.decay:g}"

    @checked
    def order_parameters(self, alpha: LoadArray) -> OrderParameters:
        """Return the order parameters at loads alpha."""
        return ridge_order_parameters(alpha, np.full_like(alpha, self.decay), self.label_noise)

    @checked
    def best_decay(self, alpha: LoadArray) -> FloatArray:
        """Return S at every load."""
        return np.full_like(alpha, self.label_noise)

    @checked
    def with_decay(self, decay: Positive) -> Ridge:
        """Return the same with another lambda."""
        return replace(self, decay=decay)


def ridge_order_parameters(alpha: FloatArray, decay: FloatArray, label_noise: float) -> OrderParameters:
    """Return the order parameters of ridge regression, load by load.

    Written in missed = lambda m, the fraction of the teacher that is missed, and the root D of the discriminant, in
    which -lambda^2 m' = missed (missed + lambda) / D and m + lambda m' = (1 - missed) / D: no digits cancel as
    lambda -> 0.
    """
    b = decay + alpha - 1
    root = np.sqrt(b**2 + 4 * decay)
    missed = np.where(b > 0, 2 * decay / (root + np.abs(b)), (root - b) / 2)
    bias, variance = missed * (missed + decay) / root, label_noise * (1 - missed) / root
    residual = decay**2 * (1 - missed) / root + label_noise * (bias + alpha - 1)
    return OrderParameters(
        error=(bias + variance) / 2,
        overlap=1 - missed,
        norm=1 - 2 * missed + bias + variance,
        training_error=residual / (2 * alpha),
    )
