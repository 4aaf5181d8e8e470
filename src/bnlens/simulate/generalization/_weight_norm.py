"""Weight normalization with gamma decay, descended in its own parameters (w, gamma)."""

from __future__ import annotations

import numpy as np

from bnlens.simulate.generalization._descent import descend
from bnlens.simulate.generalization.training_set import FloatArray, Student, TrainingSet

__all__ = ["fit_weight_norm"]

_STEPS = 20_000


def fit_weight_norm(data: TrainingSet, zeta: float, generator: np.random.Generator) -> Student:
    """Minimise (1/P) sum (t - gamma w.x sqrt(N) / |w|)^2 / 2 + zeta gamma^2 from random w and gamma = 1.

    Args:
        data: P samples of N inputs.
        zeta: coefficient of gamma decay, for the mean loss.
        generator: draws the initial w.
    """
    X, t = data.inputs, data.targets
    N, P = data.dimension, data.samples
    root = np.sqrt(N)

    def loss(place: FloatArray) -> tuple[float, FloatArray]:
        # gamma sqrt(N) stands for gamma: its curvature is then like that of the N entries of w, not N times as large.
        w, gamma = place[:-1], place[-1] / root
        length = np.sqrt(w @ w / N)
        fields = X @ w / length
        residual = t - gamma * fields
        force = -(X.T @ residual) * gamma / length  # as if |w| were fixed; then its part along w falls away
        force -= w * (w @ force) / (w @ w)
        d_gamma = -residual @ fields + 2 * zeta * P * gamma
        value = residual @ residual / 2 + zeta * P * gamma**2
        return float(value / P), np.append(force, d_gamma / root) / P

    start = np.append(generator.standard_normal(N), root)
    place, gradient = descend(loss, start, tolerance=1e-12, steps=_STEPS)
    w, gamma = place[:-1], place[-1] / root
    return Student(gamma * w * root / np.sqrt(w @ w), gradient=gradient)
