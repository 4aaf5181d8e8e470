"""Vanilla stochastic gradient descent, without any normalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnlens._arguments import checked
from bnlens.theory._check import Correlation
from bnlens.theory.dynamics._averages import Averages, population_averages
from bnlens.theory.dynamics._system import System

__all__ = ["SGD"]


@checked
@dataclass(frozen=True, kw_only=True)
class SGD(System):
    """Plain SGD on y = g(w . x): the norm of the weights is the output scale, gamma = L = |w| / sqrt(N).

    With q = |w| / sqrt(N) and the averages of weight normalization

        dq/dtau = eta E[delta z] + eta^2 E[delta^2] / (2 M q)
        dR/dtau = (eta/q) (E[delta u] - R E[delta z]) - R eta^2 E[delta^2] / (2 M q^2).

    For a linear unit D = |w - w*|^2 / N obeys dD/dtau = -2 eta D + (eta^2/M)(D + S): it diverges from eta = 2M on and
    settles at eta S / (2M - eta) below.

    Source: theory sheet B.0, B.2. The attributes are those of `System`; `solve` takes R and L and no gamma.

    >>> trajectory = SGD(unit="linear", learning_rate=1.0, label_noise=0.25).solve([0, 10], R=0.0, L=1.0)
    >>> [round(float(2 * error), 4) for error in trajectory.generalization_error]  # to eta S / (2 - eta)
    [2.0, 0.2501]
    """

    tied: ClassVar[bool] = True

    @checked
    def averages(self, gamma: float, R: Correlation) -> Averages:
        """Return the averages over inputs and labels; the noise divided by the batch size."""
        return population_averages(self.unit, gamma, R, self.label_noise, self.batch_size)
