"""Students trained by SGD on a fixed training set for a number of epochs, where `fit_student` goes to the end of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnlens._arguments import Count, Seed, checked
from bnlens.errors import UsageError
from bnlens.simulate._students import Float32Array, Students
from bnlens.simulate.generalization.training_set import FloatArray, Student, TrainingSet
from bnlens.theory.dynamics import BatchNorm, System

__all__ = ["train_students"]


@checked
def train_students(
    system: System, *, samples: Count, dimension: Count, epochs: Sequence[Count], runs: Count, seed: Seed = 0
) -> FloatArray:
    """Train students on fixed training sets by SGD in shuffled batches, and return their generalization errors.

    The step is that of `bnlens.simulate.simulate_dynamics`, from a random direction of norm L = 1 and gamma = 1. Whatever the
    system, runs of one seed and size meet the same training sets, first weights and batches. BN is evaluated with the
    statistics of the whole training set, as networks are.

    Args:
        system: one of `bnlens.theory.dynamics`, with its rates, batch size M and label noise.
        samples: P >= M; a last batch of an epoch that is not full is left out.
        dimension: N.
        epochs: after which to look, increasing, from 1 on.
        runs: training sets.
        seed: of all random numbers.

    Returns:
        (epochs, runs), errors E[(teacher - student)^2] / 2 on labels without noise.

    Raises:
        UsageError: for sizes or epochs that are not possible, or weights that grow without bound.

    >>> from bnlens.theory.dynamics import SGD
    >>> system = SGD(unit="linear", learning_rate=2.0, batch_size=8, label_noise=0.25)
    >>> train_students(system, samples=80, dimension=40, epochs=[1, 20], runs=3).shape
    (2, 3)
    """
    if samples < system.batch_size:
        raise UsageError(
            f"samples={samples} are less than one batch of {system.batch_size}: give more, or a smaller batch."
        )
    if not epochs or epochs[0] < 1 or any(np.diff(epochs) < 1):
        raise UsageError(f"epochs={list(epochs)} must be whole numbers from 1 on, increasing.")
    generator = np.random.default_rng([seed, samples])
    inputs = generator.standard_normal((runs, samples, dimension), dtype=np.float32)
    noise = generator.standard_normal((runs, samples), dtype=np.float32)
    weights = generator.standard_normal((runs, dimension), dtype=np.float32)
    weights *= np.sqrt(dimension, dtype=np.float32) / np.linalg.norm(weights, axis=1, keepdims=True)
    students, run = Students(system, weights, 1.0), np.arange(runs)[:, None]
    errors = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is found below
        for epoch in range(1, epochs[-1] + 1):
            order = generator.permuted(np.tile(np.arange(samples), (runs, 1)), axis=1)
            for first in range(0, samples - system.batch_size + 1, system.batch_size):
                batch = order[:, first : first + system.batch_size]
                students.step(inputs[run, batch], noise[run, batch])
            if not np.all(np.isfinite(weights)):
                raise UsageError(
                    f"{type(system).__name__} with learning_rate={system.learning_rate} diverges in epoch {epoch}: use a "
                    "smaller learning rate."
                )
            if epoch in epochs:
                errors.append(_errors(system, students, weights, inputs))
    return np.array(errors)


def _errors(system: System, students: Students, weights: Float32Array, inputs: Float32Array) -> FloatArray:
    N, found = weights.shape[1], []
    teacher = np.zeros(N)
    teacher[0] = np.sqrt(N)
    for index, (gamma, norm) in enumerate(zip(students.gamma, students.norm, strict=True)):
        w, x = weights[index].astype(np.float64), inputs[index].astype(np.float64) / np.sqrt(N)
        scale, intercept = (1.0 if system.tied else gamma / norm), 0.0
        if isinstance(system, BatchNorm):
            fields = x @ w
            scale = gamma / fields.std()
            intercept = -scale * float(fields.mean())
        data = TrainingSet(x, np.zeros(len(x)), teacher, system.label_noise, system.unit)
        found.append(Student(scale * w, intercept, system.unit).error(data))
    return np.array(found)
