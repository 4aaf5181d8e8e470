"""Empirical risk minimisation of a ReLU student by descent."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bnlens.errors import UsageError
from bnlens.simulate.generalization._descent import descend
from bnlens.simulate.generalization.training_set import FloatArray, Student, TrainingSet

__all__ = ["Start", "fit_relu"]

Start = Literal["small", "teacher"]

_SMALL = 0.01  # of the teacher's norm
_STEPS = 5_000
_FLAT = 1e-9


def fit_relu(data: TrainingSet, decay: float, *, start: Start, generator: np.random.Generator) -> Student:
    """Descend sum (t - max(v.x, 0))^2 / 2 + decay |v|^2 / 2 to the local minimum that the start leads to.

    Args:
        data: P samples of N inputs.
        decay: lambda, of the sum over samples.
        start: "small" random weights, or the "teacher".
        generator: draws the small weights.
    """
    if start not in ("small", "teacher"):
        raise UsageError(f'start={start!r} is unknown: choose "small" or "teacher".')
    X, t = data.inputs, data.targets

    def loss(v: FloatArray) -> tuple[float, FloatArray]:
        outputs = np.maximum(X @ v, 0)
        residual = np.where(outputs > 0, t - outputs, 0.0)
        value = np.sum((t - outputs) ** 2) / 2 + decay * (v @ v) / 2
        return float(value), decay * v - X.T @ residual

    first = data.teacher if start == "teacher" else _SMALL * generator.standard_normal(data.dimension)
    weights, gradient = descend(loss, first, tolerance=1e-6, steps=_STEPS, flat=_FLAT)
    return Student(weights, activation="relu", gradient=gradient)
