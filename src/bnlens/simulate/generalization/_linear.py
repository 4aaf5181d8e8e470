"""Least squares and ridge by direct solution."""

from __future__ import annotations

import numpy as np

from bnlens.simulate.generalization.training_set import FloatArray, Student, TrainingSet

__all__ = ["fit_least_squares", "fit_ridge"]


def fit_least_squares(data: TrainingSet, initial: FloatArray | None = None) -> Student:
    """Return least squares nearest to the initial weights, where gradient descent from them ends; from zero by default."""
    start = np.zeros(data.dimension) if initial is None else initial
    step = np.linalg.lstsq(data.inputs, data.targets - data.inputs @ start, rcond=None)[0]
    return Student(start + step)


def fit_ridge(data: TrainingSet, decay: float) -> Student:
    """Return the minimum of sum (t - v.x)^2 / 2 + decay |v|^2 / 2, from the smaller of the two normal equations."""
    X = data.inputs
    if data.samples < data.dimension:
        dual = np.linalg.solve(X @ X.T + decay * np.eye(data.samples), data.targets)
        return Student(np.asarray(X.T @ dual))
    return Student(np.asarray(np.linalg.solve(X.T @ X + decay * np.eye(data.dimension), X.T @ data.targets)))
