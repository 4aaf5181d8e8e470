"""Weight normalization, which online is normalization with population statistics."""

from __future__ import annotations

from dataclasses import dataclass

from bnlens._arguments import checked
from bnlens.theory._check import Correlation
from bnlens.theory.dynamics._averages import Averages, population_averages
from bnlens.theory.dynamics._system import System

__all__ = ["WeightNorm"]


@checked
@dataclass(frozen=True, kw_only=True)
class WeightNorm(System):
    """Weight normalization y = g(gamma sqrt(N) w . x / |w|): for white inputs also PN, whose sigma_P is |w| / sqrt(N).

    The gradient in w is orthogonal to w, so steps only ever lengthen it, and the effective learning rate eta gamma / L^2
    falls of itself. (1, 1, L) is a fixed point of (gamma, R, L) for every L without label noise.

    Source: theory sheet B.0 to B.2. The attributes are those of `System`; a batch of M samples divides the noise by M.

    >>> trajectory = WeightNorm(unit="linear", learning_rate=1.0).solve([2, 10], gamma=0.5, R=0.0)
    >>> trajectory.R.round(3).tolist(), trajectory.L.round(3).tolist()
    ([0.541, 0.999], [1.103, 1.267])
    """

    @checked
    def averages(self, gamma: float, R: Correlation) -> Averages:
        """Return the averages over inputs and labels; the noise divided by the batch size."""
        return population_averages(self.unit, gamma, R, self.label_noise, self.batch_size)
