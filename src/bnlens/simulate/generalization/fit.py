"""Training one student the way an estimator of the theory says."""

from __future__ import annotations

from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from bnlens.errors import UsageError
from bnlens.simulate.generalization._batch_norm import fit_batch_norm
from bnlens.simulate.generalization._linear import fit_least_squares, fit_ridge
from bnlens.simulate.generalization._relu import Start, fit_relu
from bnlens.simulate.generalization._weight_norm import fit_weight_norm
from bnlens.simulate.generalization.training_set import Student, TrainingSet
from bnlens.theory.generalization import (
    BatchNorm,
    Estimator,
    LeastSquares,
    ReluRidge,
    Ridge,
    WeightNormDecay,
    ridge_to_gamma_decay,
)

__all__ = ["fit_student"]

# Below this many inputs a matrix is too small for a second thread to pay. On a busy machine it costs a hundredfold: the
# threads wait for one another in a busy loop at every product, of which a descent does thousands.
_LARGE = 1 << 22


def fit_student(
    estimator: Estimator,
    data: TrainingSet,
    *,
    seed: int | np.random.Generator = 0,
    start: Start = "small",
    epochs: int = 200,
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
            return fit_least_squares(data, initial)
        case Ridge():
            return fit_ridge(data, estimator.decay)
        case WeightNormDecay():
            zeta = estimator.zeta
            if estimator.reduction == "sum":
                zeta = float(ridge_to_gamma_decay(2 * zeta, data.samples / data.dimension))
            return fit_weight_norm(data, zeta, generator)
        case BatchNorm():
            if epochs < 1:
                raise UsageError(f"epochs={epochs} is too small: give at least 1.")
            return fit_batch_norm(
                data,
                batch_size=estimator.batch_size,
                replacement=estimator.replacement,
                epochs=epochs,
                generator=generator,
            )
        case ReluRidge():
            return fit_relu(data, estimator.decay, start=start, generator=generator)
        case _:
            raise UsageError(f"{type(estimator).__name__} cannot be simulated: use an estimator of bnlens.theory.")
