"""Averages over inputs that drive the order parameters, for statistics that are those of the population."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from bnlens._arguments import checked
from bnlens.theory._check import FloatArray
from bnlens.theory.arc_cosine import gated_square, rectified_product

UnitName = Literal["linear", "relu"]
"""Activation of student and teacher: the identity or max(., 0)."""


class Averages(NamedTuple):
    """The averages that drive the order parameters, at one gamma and R.

    With the error delta = (t - y) dy/d(gamma z) of a sample and e = eta gamma / L^2,

        dgamma/dtau = eta * gain,   dR/dtau = e * alignment - R e^2/2 * noise,   dL/dtau = L e^2/2 * noise.

    Attributes:
        gain: E[delta z], with what a penalty adds.
        alignment: E[delta u] - R E[delta z], how much a step turns the weights towards the teacher.
        noise: mean square of the step across the weights, E[delta^2] / m for batches of m samples.
    """

    gain: float
    alignment: float
    noise: float


def population_averages(unit: UnitName, gamma: float, R: float, label_noise: float, batch_size: int) -> Averages:
    """Return the averages for population statistics, gamma >= 0 for a ReLU unit (theory sheet B.1, exact).

    linear: gain R - gamma, alignment 1 - R^2, m noise = 1 + S + gamma^2 - 2 gamma R.
    ReLU: gain K1 - gamma/2, alignment (pi - theta)(1 - R^2)/(2 pi), m noise = K2 + S/2 + gamma^2/2 - 2 gamma K1.
    """
    if unit == "linear":
        return Averages(R - gamma, 1 - R**2, (1 + label_noise + gamma**2 - 2 * gamma * R) / batch_size)
    k1, k2 = float(rectified_product(R)), float(gated_square(R))
    square = k2 + label_noise / 2 + gamma**2 / 2 - 2 * gamma * k1
    return Averages(k1 - gamma / 2, k2 - R * k1, square / batch_size)


@checked
def generalization_error(unit: UnitName, gamma: FloatArray, R: FloatArray) -> FloatArray:
    """Return E[(g(u) - g(gamma z))^2] / 2 against clean labels and with population statistics; any one shape."""
    if unit == "linear":
        return (1 + gamma**2 - 2 * gamma * R) / 2
    return np.asarray((0.5 + gamma**2 / 2 - 2 * gamma * rectified_product(R)) / 2)
