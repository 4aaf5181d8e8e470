"""The replica solution against ridge, the sheet, brute-force averages and finer quadrature."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import ndtri
from scipy.stats import qmc

from bnlens.errors import UsageError
from bnlens.theory.generalization import ReluRidge, Ridge, learning_curve, optimal_decay, solve_replica
from bnlens.theory.generalization import _field_averages as averages

S = 0.25
# Theory sheet C.4 (teacher, alpha, lambda, error, objective per sample). Two of its errors, at (2, 0.25) and (4, 0.25), are off
# by more than their last digit; those given here are confirmed by the brute-force averages below.
TABLE = [
    ("relu", 1, 0.25, 0.1488, 0.1156),
    ("relu", 2, 0.25, 0.1029, 0.1193),
    ("relu", 2, 1.0, 0.1229, 0.1919),
    ("relu", 4, 0.25, 0.0512, 0.1225),
    ("relu", 4, 0.05, 0.0653, 0.0982),
    ("relu", 5, 0.25, 0.0387, 0.1232),
    ("relu", 8, 0.25, 0.0213, 0.1241),
    ("relu", 0.5, 0.05, 0.1832, 0.0580),
    ("relu", 2, 0.05, 0.1573, 0.0772),
    ("linear", 1, 0.25, 0.3992, 0.3772),
    ("linear", 3, 0.25, 0.3082, 0.3758),
    ("linear", 8, 0.25, 0.2685, 0.3751),
]


@pytest.mark.parametrize(("teacher", "alpha", "decay", "error", "objective"), TABLE)
def test_table_of_the_sheet(teacher, alpha, decay, error, objective):
    curve = learning_curve(ReluRidge(decay=decay, label_noise=S, teacher=teacher), alpha)
    assert curve.error[0] == pytest.approx(error, abs=2.5e-4)
    assert curve.status == "approximate"
    solution = solve_replica(alpha, decay=decay, label_noise=S, teacher=teacher)
    assert solution.objective == pytest.approx(objective, abs=1.5e-4)


@given(alpha=st.floats(0.1, 20), decay=st.floats(0.01, 5), noise=st.floats(0, 2))
@settings(max_examples=40)
def test_linear_prox_is_ridge(alpha, decay, noise):
    solution = solve_replica(alpha, decay=decay, label_noise=noise, student="linear", teacher="linear", tolerance=1e-10)
    ridge = learning_curve(Ridge(decay=decay, label_noise=noise), alpha)
    assert (1 + solution.q - 2 * solution.overlap) / 2 == pytest.approx(ridge.error[0], rel=1e-6, abs=1e-7)
    assert (solution.q, solution.overlap) == pytest.approx((ridge.norm[0], ridge.overlap[0]), rel=1e-6)
    assert solution.training_error == pytest.approx(ridge.training_error[0], rel=1e-6, abs=1e-9)
    objective = ridge.training_error[0] + decay * ridge.norm[0] / (2 * alpha)
    assert solution.objective == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize("noise", [0.0, S])
@pytest.mark.parametrize("teacher", ["relu", "linear"])
@pytest.mark.parametrize(("q", "R", "chi"), [(0.5, 0.6, 2.0), (0.8, 0.98, 0.3)])
def test_averages_are_those_of_a_minimisation_over_the_field(q, R, chi, teacher, noise):
    # The minimiser over h is looked for on a grid and not by the formula, on quasi-random points of (z, a, b).
    points = ndtri(np.clip(qmc.Sobol(3, seed=0).random_base2(15), 1e-12, 1 - 1e-12))
    z, a, b = points.T
    w = np.sqrt(q) * z
    u = R * z + np.sqrt(1 - R**2) * a
    t = (np.maximum(u, 0) if teacher == "relu" else u) + np.sqrt(noise) * b
    cost = lambda h: (h - w) ** 2 / (2 * chi) + (t - np.maximum(h, 0)) ** 2 / 2  # noqa: E731
    grid = np.linspace(-6, 6, 401)
    h = grid[np.argmin([cost(np.full_like(w, value)) for value in grid], axis=0)]
    step = grid[1] - grid[0]
    for _ in range(12):
        trials = np.stack([h - step, h, h + step])
        best = np.argmin([cost(trial) for trial in trials], axis=0)
        h = np.take_along_axis(trials, best[None], axis=0)[0]
        step = np.where(best == 1, step / 2, step)
    f = (h - w) / chi
    ratio = np.sqrt(1 - R**2) / R
    found = averages.field_averages(q=q, ratio=ratio, chi=chi, label_noise=noise, student="relu", teacher=teacher)
    drawn = {"f_a": f * a, "f_z": f * z, "f_squared": f**2, "loss": (t - np.maximum(h, 0)) ** 2 / 2}
    assert vars(found) == pytest.approx({name: values.mean() for name, values in drawn.items()}, abs=2e-3)


@pytest.mark.parametrize("noise", [0.0, 1e-4, S])
@pytest.mark.parametrize("teacher", ["relu", "linear"])
def test_quadrature_is_fine_enough(teacher, noise, monkeypatch):
    cases = [(0.3, 0.05), (2.0, 0.25), (10.0, 0.05), (30.0, 1.0)]
    errors = lambda: [  # noqa: E731
        learning_curve(ReluRidge(decay=decay, label_noise=noise, teacher=teacher), alpha).error[0]
        for alpha, decay in cases
    ]
    usual = errors()
    monkeypatch.setattr(averages, "_STEPS", tuple(np.sort([*averages._STEPS, 0.003, 0.05, 0.2, 0.6, 1.3, 2.5, 5.0])))
    for name, finer in zip(("_NODES", "_WEIGHTS"), np.polynomial.legendre.leggauss(20), strict=True):
        monkeypatch.setattr(averages, name, finer)
    monkeypatch.setattr(averages, "_Z_GRID", averages._z_grid())
    assert usual == pytest.approx(errors(), rel=1e-4)


def test_the_start_and_the_order_of_loads_do_not_matter():
    student = ReluRidge(decay=0.1, label_noise=S)
    loads = [4.0, 0.5, 1.0, 2.0]
    alone = [learning_curve(student, load).error[0] for load in loads]
    np.testing.assert_allclose(learning_curve(student, loads).error, alone, rtol=1e-6)


@pytest.mark.parametrize("teacher", ["relu", "linear"])
def test_a_start_from_far_away_leads_to_the_same_solution(teacher):
    cold = solve_replica(2.0, decay=0.01, label_noise=S, teacher=teacher)
    for R, q, chi in [(0.999, 1.0, 0.1), (0.1, 0.01, 0.1), (0.9, 2.0, 10.0)]:
        far = replace(cold, R=R, q=q, chi=chi)
        found = solve_replica(2.0, decay=0.01, label_noise=S, teacher=teacher, start=far)
        assert (found.R, found.q, found.chi) == pytest.approx((cold.R, cold.q, cold.chi), rel=1e-6)


def test_solution_satisfies_the_stationarity_of_the_norm():
    # d objective / d lambda = q / (2 alpha), as for every minimum value.
    step = 1e-3
    low, middle, high = (solve_replica(3.0, decay=0.25 + k * step, label_noise=S, tolerance=1e-11) for k in (-1, 0, 1))
    assert (high.objective - low.objective) / (2 * step) == pytest.approx(middle.q / 6, rel=1e-4)


def test_large_loads_find_the_teacher():
    curve = learning_curve(ReluRidge(decay=0.1, label_noise=S), [100.0, 200.0])
    assert curve.cosine[1] > 0.998
    assert curve.error[0] / curve.error[1] == pytest.approx(2, rel=0.1)


def test_best_decay_is_a_minimum():
    student = ReluRidge(decay=1.0, label_noise=S)
    best = optimal_decay(student, 4.0)
    for factor in (0.8, 1.25):
        other = learning_curve(student.with_decay(factor * best.decay[0]), 4.0).error[0]
        assert other > best.error[0]


def test_an_iteration_that_does_not_end_is_reported(monkeypatch):
    monkeypatch.setattr("bnlens.theory.generalization.replica._MAX_ITERATIONS", 3)
    with pytest.raises(UsageError, match=r"alpha=2, decay=0.1, label_noise=0.25 do not converge: use a larger decay"):
        solve_replica(2.0, decay=0.1, label_noise=S)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReluRidge(decay=0.0), "decay is 0.0"),
        (lambda: ReluRidge(decay=0.1, teacher="sigmoid"), "teacher is 'sigmoid'; it must be one of 'relu', 'linear'"),
        (lambda: solve_replica(0.0, decay=0.1), "alpha is 0"),
        (lambda: solve_replica(1.0, decay=0.0), "decay is 0"),
        (lambda: solve_replica(1.0, decay=0.1, student="tanh"), "student is 'tanh'"),
        (lambda: solve_replica(1.0, decay=0.1, tolerance=0.0), "tolerance is 0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
