"""True batch normalization on a fixed training set: shrunken least squares, not ridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bnlens._arguments import AtLeastTwo, Count, NotNegative, checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray
from bnlens.theory.gaussian import mean_std
from bnlens.theory.generalization._estimator import LoadArray, OrderParameters, Status
from bnlens.theory.generalization.least_squares import LeastSquares, samples

__all__ = ["BatchNorm"]


@checked
@dataclass(frozen=True)
class BatchNorm:
    """Batch normalization trained to the stationary point of its loss over batches of P fixed samples; linear unit.

    The loss depends on the weights only through the standardised fields X w on the training set, so it cannot penalise
    |v|^2: it does not see the small eigenvalues of X^T X. Minimised over gamma it is least squares in the direction of w,
    and v = c v_LS (theory sheet C.3) with

        batches drawn with replacement:  c = c_M          shuffled epochs:  c = c_M / c_P ~ 1 - (3/4)(1/M - 1/P)

        alpha > 1:  error = [ (1 - c)^2 + c^2 S / (alpha - 1) ] / 2
        alpha < 1:  error = [ (1 - alpha) + alpha (1 - c)^2 + c^2 S alpha / (1 - alpha) ] / 2

    for inputs and labels as in `LeastSquares`, initial weights in the row space of X. Infinite at alpha = 1 when S > 0: BN
    does not cure the peak. Approximate: of relative order 1/M, with terms of order 1/(M sqrt P) in the direction left out
    for alpha > 1.

    Attributes:
        batch_size: statistics batch size M >= 2.
        label_noise: S.
        replacement: whether batches are drawn with replacement, else epochs are shuffled.
        dimension: N, or None for N -> infinity, where P is infinite too and c = c_M either way.

    Raises:
        UsageError: for a batch size below 2 or, when epochs are shuffled, above P; a negative label noise; a dimension
            below 1.

    >>> from bnlens.theory.generalization import learning_curve
    >>> learning_curve(BatchNorm(batch_size=8, label_noise=0.25), alpha=[0.5, 1, 1.5, 4]).error.round(4).tolist()
    [0.3542, inf, 0.2085, 0.0387]
    """

    batch_size: AtLeastTwo
    label_noise: NotNegative = 0.0
    replacement: bool = False
    dimension: Count | None = None

    status: ClassVar[Status] = "approximate"
    basis: ClassVar[str] = (
        "Least squares shrunk by c: first order in 1/M, without the terms of order 1/(M sqrt P) in the direction."
    )

    def __post_init__(self) -> None:
        self._least_squares()

    @property
    def title(self) -> str:
        """Name in legends."""
        return f"batch norm, M = {self.batch_size}"

    @checked
    def shrink_factor(self, alpha: LoadArray) -> FloatArray:
        """Return c = |v| / |v_LS| at loads alpha."""
        factor = np.full_like(alpha, float(mean_std(self.batch_size)))
        if self.replacement or self.dimension is None:
            return factor
        P = samples(alpha, self.dimension)
        if P.min() < self.batch_size:
            raise UsageError(
                f"batch_size={self.batch_size} exceeds the {P.min():.0f} training samples of load {alpha.min():g} at "
                f"dimension={self.dimension}: use a smaller batch or a larger load."
            )
        return np.asarray(factor / mean_std(P))

    @checked
    def order_parameters(self, alpha: LoadArray) -> OrderParameters:
        """Return the order parameters at loads alpha."""
        factor, full = self.shrink_factor(alpha), self._least_squares().order_parameters(alpha)
        fitted = 1 + self.label_noise - 2 * full.training_error  # mean square of X v_LS
        return OrderParameters.of_linear(
            overlap=factor * full.overlap,
            norm=factor**2 * full.norm,
            training_error=full.training_error + (1 - factor) ** 2 * fitted / 2,
        )

    def _least_squares(self) -> LeastSquares:
        return LeastSquares(label_noise=self.label_noise, dimension=self.dimension)
