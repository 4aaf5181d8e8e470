"""Training one student the way an estimator of the theory says."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from bnlens._arguments import Count, Seed, checked
from bnlens.errors import UsageError
from bnlens.simulate.generalization._batch_norm import fit_batch_norm
from bnlens.simulate.generalization._descent import descend
from bnlens.simulate.generalization.training_set import FloatArray, Student, TrainingSet
from bnlens.theory.generalization import (
    BatchNorm,
    Estimator,
    LeastSquares,
    ReluRidge,
    Ridge,
    WeightNormDecay,
    ridge_to_gamma_decay,
)

__all__ = ["Start", "fit_student"]

Start = Literal["small", "teacher"]

# Below this many inputs a matrix is too small for a second thread to pay. On a busy machine it costs a hundredfold: the
# threads wait for one another in a busy loop at every product, of which a descent does thousands.
_LARGE = 1 << 22
_SMALL = 0.01  # start of a ReLU student, of the teacher's norm


@checked
def fit_student(
    estimator: Estimator,
    data: TrainingSet,
    *,
    seed: Seed | np.random.Generator = 0,
    start: Start = "small",
    epochs: Count = 200,
) -> Student:
    """Train a student on a training set.

    `LeastSquares` and `Ridge` are solved directly. `WeightNormDecay` is descended in its own parameters (w, gamma).
    `BatchNorm` descends the loss over batches of the training set, through the backward pass of batch normalization, to
    a stationary point, and returns the unit with the statistics of the whole training set; its error has no part that
    the closed form of the theory put there. `ReluRidge` is descended from `start`; there are many local minima.

    Args:
        estimator: of `bnlens.theory.generalization`.
        data: the training set.
        seed: seed or generator of the initial weights and of the batches.
        start: where a ReLU student starts, "small" random weights or the "teacher".
        epochs: epochs of batches that the loss of `BatchNorm` is averaged over. At 200 the generalization error of one
            run is within about 1% of that at 3000 (M = 8, alpha = 1.5), and the deviations average out over runs.

    Raises:
        UsageError: for an estimator, start or number of epochs that cannot be used, or a batch larger than the set.

    >>> from bnlens.simulate.generalization import draw_training_set
    >>> from bnlens.theory.generalization import Ridge, WeightNormDecay
    >>> data = draw_training_set(samples=40, dimension=20, label_noise=0.25)
    >>> ridge, decayed = fit_student(Ridge(0.1), data), fit_student(WeightNormDecay(0.025), data)
    >>> bool(np.abs(ridge.weights - decayed.weights).max() < 1e-6)
    True
    """
    with _threads().limit(limits=1 if data.inputs.size < _LARGE else None, user_api="blas"):
        return _fit(estimator, data, np.random.default_rng(seed), start, epochs)


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def _fit(estimator: Estimator, data: TrainingSet, generator: np.random.Generator, start: Start, epochs: int) -> Student:
    match estimator:
        case LeastSquares():
            initial = np.sqrt(estimator.initial_norm) * generator.standard_normal(data.dimension)
            step = np.linalg.lstsq(data.inputs, data.targets - data.inputs @ initial, rcond=None)[0]
            return Student(initial + step)
        case Ridge():
            return _fit_ridge(data, estimator.decay)
        case WeightNormDecay():
            zeta = estimator.zeta
            if estimator.reduction == "sum":
                zeta = float(ridge_to_gamma_decay(2 * zeta, data.samples / data.dimension))
            return _fit_weight_norm(data, zeta, generator)
        case BatchNorm():
            size, replacement = estimator.batch_size, estimator.replacement
            return fit_batch_norm(data, batch_size=size, replacement=replacement, epochs=epochs, generator=generator)
        case ReluRidge():
            return _fit_relu(data, estimator.decay, start, generator)
        case _:
            raise UsageError(f"{type(estimator).__name__} cannot be simulated: use an estimator of bnlens.theory.")


def _fit_ridge(data: TrainingSet, decay: float) -> Student:
    """Return the minimum of sum (t - v.x)^2 / 2 + decay |v|^2 / 2, from the smaller of the two normal equations."""
    X = data.inputs
    if data.samples < data.dimension:
        dual = np.linalg.solve(X @ X.T + decay * np.eye(data.samples), data.targets)
        return Student(np.asarray(X.T @ dual))
    return Student(np.asarray(np.linalg.solve(X.T @ X + decay * np.eye(data.dimension), X.T @ data.targets)))


def _fit_weight_norm(data: TrainingSet, zeta: float, generator: np.random.Generator) -> Student:
    """Minimise (1/P) sum (t - gamma w.x sqrt(N) / |w|)^2 / 2 + zeta gamma^2 from random w and gamma = 1."""
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
    place, gradient = descend(loss, start, tolerance=1e-12, steps=20_000)
    w, gamma = place[:-1], place[-1] / root
    return Student(gamma * w * root / np.sqrt(w @ w), gradient=gradient)


def _fit_relu(data: TrainingSet, decay: float, start: Start, generator: np.random.Generator) -> Student:
    """Descend sum (t - max(v.x, 0))^2 / 2 + decay |v|^2 / 2 to the local minimum that the start leads to."""
    X, t = data.inputs, data.targets

    def loss(v: FloatArray) -> tuple[float, FloatArray]:
        outputs = np.maximum(X @ v, 0)
        residual = np.where(outputs > 0, t - outputs, 0.0)
        value = np.sum((t - outputs) ** 2) / 2 + decay * (v @ v) / 2
        return float(value), decay * v - X.T @ residual

    first = data.teacher if start == "teacher" else _SMALL * generator.standard_normal(data.dimension)
    weights, gradient = descend(loss, first, tolerance=1e-6, steps=5_000, flat=1e-9)
    return Student(weights, activation="relu", gradient=gradient)
