"""True mini-batch batch normalization."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from bnlens._arguments import checked
from bnlens.theory._check import Correlation
from bnlens.theory.dynamics._averages import Averages
from bnlens.theory.dynamics._relu_batches import relu_batch_table
from bnlens.theory.dynamics._system import System
from bnlens.theory.dynamics.gamma_decay import GammaDecay
from bnlens.theory.gaussian import mean_inverse_std, mean_std
from bnlens.theory.zeta import paper_zeta

__all__ = ["BatchNorm"]


@checked
@dataclass(frozen=True, kw_only=True)
class BatchNorm(System):
    """Batch normalization with the statistics of the batch itself, and its full backward pass.

    A batch is M pairs (u, z); zh = (z - m)/S with its mean m and biased deviation S, outputs g(gamma zh), beta = 0. The
    backward pass takes from the errors delta of a batch what a line in zh explains, phi = delta - mean(delta) - zh
    mean(delta zh), and the averages are

        gain = E[mean(delta zh)],   alignment = E[mean(phi u)/S],   noise = E[mean(phi^2)/S^2] / M.

    Linear unit, exactly: gain R c_M - gamma, alignment ((M-2)/M) b_M (1 - R^2), noise (M-2)(1 - R^2 + S)/(M(M-3)), with
    c_M and b_M of `bnlens.theory.mean_std` and `mean_inverse_std`. ReLU unit: a table per M by quadrature, made on first
    use (a twentieth of a second) and good to 1e-8 for M up to 256. Without label noise (c_M, 1, L) is a fixed point of the
    linear unit for every L, unlike with `GammaDecay`.

    Source: theory sheet B.3.

    Attributes:
        batch_size: M >= 4, samples per step and per statistics; below, E S^-2 is infinite.

    The others are those of `System`.

    >>> trajectory = BatchNorm(unit="linear", learning_rate=1.0, batch_size=8).solve([1, 40], gamma=0.5)
    >>> trajectory.gamma.round(4).tolist(), trajectory.R.round(4).tolist()
    ([0.2959, 0.9027], [0.3089, 1.0])
    """

    batch_size: int
    smallest_batch: ClassVar[int] = 4

    @checked
    def averages(self, gamma: float, R: Correlation) -> Averages:
        """Return the averages over batches."""
        M, S = self.batch_size, self.label_noise
        if self.unit == "linear":
            c_M, b_M = _gaussian_constants(M)
            alignment = (M - 2) / M * b_M * (1 - R**2)
            return Averages(R * c_M - gamma, alignment, (M - 2) * (1 - R**2 + S) / (M * (M - 3)))
        table = relu_batch_table(M)
        product, turn, square, cross = table(R)
        noise = square - 2 * gamma * cross + gamma**2 * table.gamma_square + S * (M - 2) / (2 * (M - 3))
        return Averages(product - gamma / 2, turn * (1 - R**2), noise / M)

    def as_gamma_decay(self) -> GammaDecay:
        """Return the paper's model of this system: weight normalization with its zeta and the same step noise 1/M."""
        return GammaDecay(
            unit=self.unit,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            label_noise=self.label_noise,
            zeta=paper_zeta(self.unit, self.batch_size),
        )


@lru_cache(maxsize=64)
def _gaussian_constants(batch_size: int) -> tuple[float, float]:
    return float(mean_std(batch_size)), float(mean_inverse_std(batch_size))
