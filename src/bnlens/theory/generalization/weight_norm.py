"""Weight normalization with gamma decay, which is ridge regression, and the conversions of its coefficient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import NotNegative, Positive, Range, checked
from bnlens.theory._check import BatchSizes, FloatArray, unwrap
from bnlens.theory.generalization._estimator import LoadArray, OrderParameters, Status
from bnlens.theory.generalization.ridge import ridge_order_parameters
from bnlens.theory.zeta import paper_zeta

__all__ = ["Reduction", "WeightNormDecay", "gamma_decay_to_ridge", "paper_gamma_decay", "ridge_to_gamma_decay"]

Reduction = Literal["mean", "sum"]
_NotNegative: TypeAlias = Annotated[ArrayLike, Range(0)]
_Positive: TypeAlias = Annotated[ArrayLike, Range(0, above=True)]


@checked
@dataclass(frozen=True)
class WeightNormDecay:
    """Weight normalization y = gamma w.x sqrt(N) / |w| with a penalty on gamma^2; linear student of a linear teacher.

    With v = gamma sqrt(N) w / |w|, |v|^2 / N = gamma^2, so that it is ridge regression **exactly**, at any N (C.2):

    - ``reduction="mean"``: (1/P) sum (t - y)^2 / 2 + zeta gamma^2 is ridge with lambda = 2 alpha zeta;
    - ``reduction="sum"``: sum (t - y)^2 / 2 + zeta N gamma^2 is ridge with lambda = 2 zeta.

    Population normalization is weight normalization when the population is that of the inputs and not the P training
    points, whose standard deviation of w.x is not |w| / sqrt(N); see `BatchNorm`.

    Attributes:
        zeta: coefficient of gamma decay, > 0. The one of the gap of batch normalization is that of the mean loss.
        label_noise: S.
        reduction: whether the loss is the mean or the sum over samples.

    Raises:
        UsageError: for a coefficient that is not positive, a negative label noise or an unknown reduction.

    >>> from bnlens.theory.generalization import Ridge, learning_curve
    >>> decayed = learning_curve(WeightNormDecay(zeta=0.025, label_noise=0.25), alpha=[2.0])
    >>> decayed.error == learning_curve(Ridge(decay=0.1, label_noise=0.25), alpha=[2.0]).error
    array([ True])
    """

    zeta: Positive
    label_noise: NotNegative = 0.0
    reduction: Reduction = "mean"

    status: ClassVar[Status] = "asymptotic"
    basis: ClassVar[str] = "Equal to ridge regression at any N; the curve of ridge is exact as N grows."

    @property
    def title(self) -> str:
        """Name in legends."""
        return f"gamma decay, ζ = {self.zeta:g}" + ("" if self.reduction == "mean" else " (sum)")

    @checked
    def order_parameters(self, alpha: LoadArray) -> OrderParameters:
        """Return the order parameters at loads alpha."""
        decay = np.asarray(gamma_decay_to_ridge(self.zeta, alpha, reduction=self.reduction))
        return ridge_order_parameters(alpha, np.broadcast_to(decay, alpha.shape), self.label_noise)

    @checked
    def best_decay(self, alpha: LoadArray) -> FloatArray:
        """Return S / (2 alpha) for the mean loss, S / 2 for the sum."""
        best = np.asarray(ridge_to_gamma_decay(self.label_noise, alpha, reduction=self.reduction))
        return np.broadcast_to(best, alpha.shape).copy()

    @checked
    def with_decay(self, decay: Positive) -> WeightNormDecay:
        """Return the same with another zeta."""
        return replace(self, zeta=decay)


@checked
def gamma_decay_to_ridge(zeta: _NotNegative, alpha: _Positive, *, reduction: Reduction = "mean") -> float | FloatArray:
    """Return the ridge coefficient lambda (sum over samples) that gamma decay zeta is: 2 alpha zeta, or 2 zeta.

    Args:
        zeta: coefficient of gamma decay.
        alpha: load P/N.
        reduction: "mean" when zeta gamma^2 is added to the mean loss, "sum" when zeta N gamma^2 is to the sum.

    Raises:
        UsageError: for an unknown reduction or a load that is not positive.

    >>> gamma_decay_to_ridge(0.025, 2.0), gamma_decay_to_ridge(0.025, 2.0, reduction="sum")
    (0.1, 0.05)
    """
    return unwrap(np.asarray(2 * np.asarray(zeta, dtype=np.float64) * _samples_per_input(alpha, reduction)))


@checked
def ridge_to_gamma_decay(decay: _NotNegative, alpha: _Positive, *, reduction: Reduction = "mean") -> float | FloatArray:
    """Return the gamma decay zeta that ridge with lambda (sum over samples) is; the inverse of `gamma_decay_to_ridge`.

    >>> ridge_to_gamma_decay(0.25, 2.0)
    0.0625
    """
    return unwrap(np.asarray(np.asarray(decay, dtype=np.float64) / (2 * _samples_per_input(alpha, reduction))))


@checked
def paper_gamma_decay(batch_size: BatchSizes) -> float | FloatArray:
    """Return the paper's zeta = 3 / (4 M) of a linear unit with squared loss and Gaussian pre-activations, mean loss.

    Under this identification BN would be ridge with lambda = 3 alpha / (2 M), best at M = 3 alpha / (2 S). True BN is not:
    see `BatchNorm`.

    >>> paper_gamma_decay(8)
    0.09375
    """
    return unwrap(paper_zeta("linear", np.asarray(batch_size, dtype=np.float64)))


def _samples_per_input(alpha: ArrayLike, reduction: Reduction) -> FloatArray:
    return np.ones(np.shape(alpha)) if reduction == "sum" else np.asarray(alpha, dtype=np.float64)
