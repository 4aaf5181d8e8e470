"""Weight normalization with gamma decay: the paper's model of batch normalization."""

from __future__ import annotations

from dataclasses import dataclass

from bnlens._arguments import NotNegative, checked
from bnlens.theory._check import Correlation
from bnlens.theory.dynamics._averages import Averages
from bnlens.theory.dynamics.weight_norm import WeightNorm

__all__ = ["GammaDecay"]


@checked
@dataclass(frozen=True, kw_only=True)
class GammaDecay(WeightNorm):
    """Weight normalization with the penalty zeta gamma^2: dgamma/dtau = eta (E[delta z] - 2 zeta gamma).

    The paper takes it for BN with zeta of the order 1/M (`paper_zeta`); `BatchNorm.as_gamma_decay` makes the model of a BN
    system. The fixed point that the paper gives, gamma0 = 1/(1 + 2 zeta) for linear and 1/(1 + 4 zeta) for ReLU units at R = 1,
    is not one: the errors that the shrunk gamma leaves keep the weights moving, R below 1 and L growing. It is approached as
    L grows, 1 - R and 1 - gamma/gamma0 falling as tau^(-1/2).

    Source: arXiv 1809.00846, section on dynamics; theory sheet B.0, B.2.

    Attributes:
        zeta: coefficient of the penalty, at least 0, for the loss (t - y)^2 / 2 per sample.

    The others are those of `System`.

    >>> trajectory = GammaDecay(unit="linear", learning_rate=1.0, zeta=0.1).solve([10, 1000], gamma=0.5)
    >>> trajectory.gamma.round(3).tolist(), trajectory.R.round(3).tolist()  # gamma0 = 0.833
    ([0.824, 0.833], [0.993, 0.999])
    """

    zeta: NotNegative

    @checked
    def averages(self, gamma: float, R: Correlation) -> Averages:
        """Return the averages of weight normalization with -2 zeta gamma added to the gain."""
        gain, alignment, noise = super().averages(gamma, R)
        return Averages(gain - 2 * self.zeta * gamma, alignment, noise)
