"""Least squares: of minimum norm where labels are fewer than weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnlens._arguments import Count, NotNegative, checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray
from bnlens.theory.generalization._estimator import LoadArray, OrderParameters, Status

__all__ = ["LeastSquares"]


@checked
@dataclass(frozen=True)
class LeastSquares:
    """Least squares of minimum norm, where gradient descent from zero ends; linear student of a linear teacher.

    Inputs x ~ N(0, I/N), labels t = w*.x + s with |w*|^2 = N and Var s = S, error |v - w*|^2 / (2 N):

        alpha < 1:  [ (1 + q0)(1 - alpha) + S alpha / (1 - alpha) ] / 2          alpha > 1:  S / (2 (alpha - 1))

    infinite at alpha = 1 when S > 0. With `dimension` N given, the same with P = alpha N rounded is an exact
    expectation, alpha / (1 - alpha) becoming P / (N - P - 1) and 1 / (alpha - 1) becoming N / (P - N - 1), infinite for
    |P - N| <= 1 (inverse Wishart). Source: theory sheet C.1.

    Attributes:
        label_noise: S.
        initial_norm: q0 = |w0|^2 / N of the weights, independent of the teacher, that gradient descent starts from.
        dimension: N, or None for N -> infinity.

    Raises:
        UsageError: for a negative label noise or initial norm, or a dimension below 1.

    >>> from bnlens.theory.generalization import learning_curve
    >>> learning_curve(LeastSquares(label_noise=0.25), alpha=[0.5, 1, 2]).error.tolist()
    [0.375, inf, 0.125]
    """

    label_noise: NotNegative = 0.0
    initial_norm: NotNegative = 0.0
    dimension: Count | None = None

    def __post_init__(self) -> None:
        if self.dimension is not None and self.dimension < 1:
            raise UsageError(f"dimension={self.dimension} is too small: give the number of inputs N, or None.")

    @property
    def title(self) -> str:
        """Name in legends."""
        return "least squares"

    @property
    def status(self) -> Status:
        """Exact at finite N."""
        return "asymptotic" if self.dimension is None else "exact"

    @property
    def basis(self) -> str:
        """The reason for the status, one sentence."""
        return (
            "Exact as N grows at fixed P/N, for Gaussian inputs."
            if self.dimension is None
            else f"Expectation over Gaussian training sets at N = {self.dimension}."
        )

    @checked
    def order_parameters(self, alpha: LoadArray) -> OrderParameters:
        """Return the order parameters at loads alpha; expectations when N is finite."""
        load, inverse_trace = self._traces(alpha)
        seen = np.minimum(load, 1.0)  # the fraction of directions that the labels determine
        with np.errstate(divide="ignore"):
            residual = np.where(load > 1, self.label_noise * (1 - 1 / load), 0.0)
        noise = self.label_noise * inverse_trace if self.label_noise else np.zeros_like(load)  # 0 inf is not a number
        return OrderParameters.of_linear(
            overlap=seen, norm=seen + noise + self.initial_norm * (1 - seen), training_error=residual / 2
        )

    def _traces(self, alpha: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return P/N and the mean of tr (X^T X)^+ / N."""
        with np.errstate(divide="ignore"):
            if self.dimension is None:
                trace = np.where(alpha < 1, alpha / np.abs(1 - alpha), 1 / np.abs(alpha - 1))
                return alpha, trace
            N, P = self.dimension, samples(alpha, self.dimension)
            below, above = N - P - 1, P - N - 1
            trace = np.where(below > 0, P / np.maximum(below, 1), N / np.maximum(above, 1))
            return P / N, np.where((below > 0) | (above > 0), trace, np.inf)


def samples(alpha: FloatArray, dimension: int) -> FloatArray:
    """Return the whole numbers of samples P nearest to alpha N, at least 1."""
    return np.maximum(np.rint(alpha * dimension), 1.0)
