"""Students trained by SGD on fixed training sets, and errors of ReLU units with an intercept."""

import numpy as np
import pytest

from bnlens.errors import UsageError
from bnlens.simulate.generalization import Student, TrainingSet, train_students
from bnlens.theory.dynamics import SGD, BatchNorm, GammaDecay

NOISE = 0.25


def system(kind, unit="linear", **more):
    return kind(unit=unit, batch_size=8, label_noise=NOISE, **{"learning_rate": 2.0, **more})


@pytest.mark.parametrize("intercept", [0.3, -0.7, -30.0, 4.0])
@pytest.mark.parametrize("overlap", [0.9, 0.0, 1.0])
def test_the_error_of_a_relu_unit_with_an_intercept(intercept, overlap):
    N, generator = 4, np.random.default_rng(0)
    teacher = np.array([2.0, 0, 0, 0])
    student = Student(1.6 * np.array([overlap, np.sqrt(1 - overlap**2), 0, 0]), intercept, "relu")
    x = generator.standard_normal((2_000_000, N)) / np.sqrt(N)
    losses = (np.maximum(x @ teacher, 0) - student.outputs(x)) ** 2 / 2
    error = student.error(TrainingSet(x, x[:, 0], teacher, 0.0, "relu"))
    assert error == pytest.approx(losses.mean(), abs=4 * losses.std() / np.sqrt(len(x)) + 1e-9)


def test_a_long_training_ends_at_least_squares():
    # Theory sheet C.1: S/(2 (alpha - 1)); the steps of SGD add to it.
    (errors,) = train_students(system(SGD, learning_rate=0.5), samples=400, dimension=100, epochs=[60], runs=8)
    assert errors.mean() == pytest.approx(NOISE / 6, rel=0.15)


@pytest.mark.parametrize("unit", ["linear", "relu"])
def test_batch_norm_on_many_samples_has_the_gamma_of_the_equations(unit):
    batch_norm = system(BatchNorm, unit, learning_rate=1.0)
    (errors,) = train_students(batch_norm, samples=4000, dimension=40, epochs=[1], runs=16)
    # each sample once: online learning for tau = 12.5
    expected = batch_norm.solve([12.5], gamma=1.0, R=0.0, L=1.0).generalization_error[0]
    assert errors.mean() == pytest.approx(expected, abs=4 * errors.std() / 4 + 2 / 40 * expected)


def test_runs_of_one_seed_meet_the_same_training_sets():
    decay, none = system(GammaDecay, zeta=0.0), system(GammaDecay, zeta=1e-7)
    arguments = {"samples": 60, "dimension": 40, "runs": 3}
    first, again, near = (
        train_students(one, **arguments, epochs=epochs) for one, epochs in ((decay, [2]), (decay, [1, 2]), (none, [2]))
    )
    assert np.array_equal(first[0], again[1])
    assert near[0] == pytest.approx(first[0], rel=1e-3)
    assert not np.allclose(train_students(decay, **arguments, epochs=[2], seed=1), first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"samples": 7}, "one batch of 8"), ({"epochs": []}, "from 1 on"), ({"epochs": [2, 2]}, "from 1 on")],
)
def test_what_cannot_be_trained(changes, message):
    with pytest.raises(UsageError, match=message):
        train_students(system(SGD), **{"samples": 60, "dimension": 40, "epochs": [1], "runs": 2, **changes})


def test_divergence_is_told():
    with pytest.raises(UsageError, match="diverges in epoch"):
        train_students(system(SGD, learning_rate=200.0), samples=60, dimension=40, epochs=[50], runs=2)
