"""Simulated learning curves against the closed forms and the replica theory, and how they are run."""

import sys

import numpy as np
import pytest

from bnlens.errors import UsageError
from bnlens.simulate.generalization import simulate_learning_curve
from bnlens.theory.generalization import (
    BatchNorm,
    LeastSquares,
    ReluRidge,
    Ridge,
    WeightNormDecay,
    learning_curve,
    paper_gamma_decay,
)

S = 0.25


@pytest.mark.parametrize(
    ("estimator", "alpha", "dimension", "runs"),
    [(LeastSquares(S, dimension=50), alpha, 50, 200) for alpha in (0.5, 0.8, 1.5, 3.0)]
    + [(each, [0.5, 1.0, 2.0], 150, 20) for each in (Ridge(0.1, S), Ridge(S, S), WeightNormDecay(0.05, S))],
)
def test_exact_curves_are_met(estimator, alpha, dimension, runs):
    simulated = simulate_learning_curve(estimator, alpha, dimension=dimension, runs=runs)
    theory = learning_curve(estimator, alpha)
    for name in ("error", "overlap", "norm", "training_error"):
        deviation = np.abs(getattr(simulated, name) - getattr(theory, name))
        assert np.all(deviation < 4 * getattr(simulated, f"{name}_stderr") + 1e-9), name
    assert np.all(simulated.error_stderr < 0.1 * simulated.error)


def test_batch_norm_meets_its_curve_and_not_that_of_ridge():
    alpha = [1.5, 2.0, 4.0]
    simulated = simulate_learning_curve(BatchNorm(16, S), alpha, dimension=100, runs=16)
    theory = learning_curve(BatchNorm(16, S, dimension=100), alpha)
    assert np.all(np.abs(simulated.error - theory.error) < 4 * simulated.error_stderr + 0.03 * theory.error)
    ridge = learning_curve(WeightNormDecay(paper_gamma_decay(16), S), alpha)
    assert simulated.error[0] > 1.3 * ridge.error[0]


def test_batch_norm_keeps_the_peak():
    peak = simulate_learning_curve(BatchNorm(16, S), 1.0, dimension=100, runs=8)
    assert np.median(peak.run_errors) > 5
    assert simulate_learning_curve(Ridge(S, S), 1.0, dimension=100, runs=8).error[0] < 0.3


# Theory sheet C.4; replica symmetry is an approximation, and N is small.
@pytest.mark.parametrize(
    ("teacher", "alpha", "decay"), [("relu", 2, 1.0), ("relu", 4, 0.25), ("relu", 8, 0.25), ("linear", 8, 0.25)]
)
def test_relu_student_is_near_the_replica_curve(teacher, alpha, decay):
    estimator = ReluRidge(decay, S, teacher=teacher)
    simulated = simulate_learning_curve(estimator, alpha, dimension=150, runs=8)
    theory = learning_curve(estimator, alpha)
    assert abs(simulated.error[0] - theory.error[0]) < 3 * simulated.error_stderr[0] + 0.05 * theory.error[0]
    objective = simulated.training_error + decay * simulated.norm / (2 * alpha)
    expected = theory.training_error + decay * theory.norm / (2 * alpha)
    assert objective[0] == pytest.approx(expected[0], rel=0.06)


def test_start_at_the_teacher_finds_another_minimum():
    estimator = ReluRidge(0.25, S)
    small, informed = (
        simulate_learning_curve(estimator, 2.0, dimension=100, runs=6, start=start) for start in ("small", "teacher")
    )
    assert informed.error[0] < small.error[0]


def test_a_run_is_settled_by_seed_size_and_number_alone():
    ridge = Ridge(0.1, S)
    both = simulate_learning_curve(ridge, [2.0, 0.5], dimension=30, runs=4, seed=7)
    again = simulate_learning_curve(ridge, [0.5], dimension=30, runs=3, seed=7)
    np.testing.assert_array_equal(both.run_errors[1, :3], again.run_errors[0])
    assert (both.runs, both.dimension, both.seed) == (4, 30, 7)
    other = simulate_learning_curve(ridge, [0.5], dimension=30, runs=3, seed=8)
    assert not np.any(other.run_errors == again.run_errors)
    assert both.error_stderr[0] == pytest.approx(both.run_errors[0].std(ddof=1) / 2)


def test_estimators_meet_the_same_training_sets():
    # Then the difference of two estimators has far less noise than either.
    first = simulate_learning_curve(Ridge(0.10, S), 1.0, dimension=40, runs=10).run_errors
    second = simulate_learning_curve(Ridge(0.11, S), 1.0, dimension=40, runs=10).run_errors
    assert (first - second).std() < 0.2 * first.std()


def test_progress_is_reported():
    calls = []
    simulate_learning_curve(Ridge(0.1, S), [1.0, 2.0], dimension=10, runs=3, progress=lambda *call: calls.append(call))
    assert calls == [(k, 6) for k in range(1, 7)]


def test_progress_bar_goes_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    simulate_learning_curve(Ridge(0.1, S), 1.0, dimension=10, runs=2, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "ridge" in captured.err


def test_frame_and_figure():
    ridge = Ridge(0.1, S)
    simulated = simulate_learning_curve(ridge, [1.01, 2.0], dimension=30, runs=3)
    frame = simulated.to_frame()
    assert frame.index.tolist() == [1.0, 2.0]  # whole numbers of samples
    for name in ("error", "norm_stderr"):
        assert frame[name].tolist() == getattr(simulated, name).tolist()
    figure = simulated.plot(learning_curve(ridge, [0.5, 1, 2]).plot())
    assert len(figure.data) == 2
    assert figure.data[1].error_y.array == pytest.approx(simulated.error_stderr)
    assert simulated.plot().layout.xaxis.title.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": [[1.0]]}, "alpha has 2 dimensions"),
        ({"runs": 1}, "runs is 1"),
        ({"dimension": -3}, "dimension is -3"),
        ({"estimator": LeastSquares(dimension=20)}, "not the estimator's 20"),
        ({"estimator": BatchNorm(32), "alpha": 0.5}, "exceeds the 15 training samples"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        simulate_learning_curve(**{"estimator": Ridge(0.1), "alpha": 1.0, "dimension": 30, "runs": 2, **arguments})
