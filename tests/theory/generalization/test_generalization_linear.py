"""Closed-form curves against the sheet, the eigenvalue density, drawn training sets and one another."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import quad

from bnlens.errors import UsageError
from bnlens.theory import mean_std
from bnlens.theory.generalization import (
    BatchNorm,
    LeastSquares,
    Ridge,
    WeightNormDecay,
    gamma_decay_to_ridge,
    learning_curve,
    optimal_decay,
    paper_gamma_decay,
    ridge_to_gamma_decay,
)

S = 0.25
# Theory sheet C.2: alpha, least squares, ridge at 0.1, ridge at lambda = S.
TABLE = [
    (0.5, 0.3750, 0.3298, 0.3202),
    (0.8, 0.6000, 0.2589, 0.2378),
    (1.0, np.inf, 0.2206, 0.1952),
    (1.25, 0.5000, 0.1776, 0.1545),
    (1.5, 0.2500, 0.1423, 0.1250),
    (2.0, 0.1250, 0.0963, 0.0877),
    (4.0, 0.0417, 0.0389, 0.0376),
]
loads = st.floats(0.05, 20).filter(lambda alpha: abs(alpha - 1) > 1e-3)
decays = st.floats(1e-3, 20)
noises = st.floats(0.01, 4)


def error(estimator, alpha):
    return float(learning_curve(estimator, alpha=alpha).error[0])


@pytest.mark.parametrize(("alpha", "least_squares", "ridge", "best"), TABLE)
def test_table_of_the_sheet(alpha, least_squares, ridge, best):
    assert error(LeastSquares(label_noise=S), alpha) == pytest.approx(least_squares, abs=6e-5)
    assert error(Ridge(decay=0.1, label_noise=S), alpha) == pytest.approx(ridge, abs=6e-5)
    assert optimal_decay(Ridge(decay=1, label_noise=S), alpha).error[0] == pytest.approx(best, abs=6e-5)


@pytest.mark.parametrize(("decay", "expected"), [(1e-2, 0.59), (1e-3, 1.92), (1e-4, 6.19)])
def test_peak_of_weak_ridge(decay, expected):
    assert error(Ridge(decay=decay, label_noise=S), 1.0) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 2.5])
def test_ridge_is_the_average_over_the_marchenko_pastur_law(alpha):
    decay = 0.3
    low, high = (1 - np.sqrt(alpha)) ** 2, (1 + np.sqrt(alpha)) ** 2

    def average(function):
        def integrand(angle):  # x between the edges by angle, whose Jacobian takes the root out of the density
            x = (low + high) / 2 + (high - low) / 2 * np.cos(angle)
            return function(x) * ((high - low) / 2 * np.sin(angle)) ** 2 / (2 * np.pi * x)

        return quad(integrand, 0, np.pi)[0] + max(1 - alpha, 0) * function(0.0)

    curve = learning_curve(Ridge(decay=decay, label_noise=S), alpha)
    missed = average(lambda x: decay / (x + decay))
    bias, variance = average(lambda x: (decay / (x + decay)) ** 2), S * average(lambda x: x / (x + decay) ** 2)
    assert curve.error[0] == pytest.approx((bias + variance) / 2, rel=1e-7)
    assert curve.overlap[0] == pytest.approx(1 - missed, rel=1e-7)
    assert curve.norm[0] == pytest.approx(1 - 2 * missed + bias + variance, rel=1e-7)
    residual = average(lambda x: x * (decay / (x + decay)) ** 2) + S * (bias + alpha - 1)
    assert curve.training_error[0] == pytest.approx(residual / (2 * alpha), rel=1e-7)


@pytest.mark.parametrize("samples", [10, 40])
def test_least_squares_is_exact_at_finite_size(samples):
    N, runs = 20, 4000
    generator = np.random.default_rng(0)
    X = generator.standard_normal((runs, samples, N)) / np.sqrt(N)
    teacher = generator.standard_normal((runs, N))
    teacher *= np.sqrt(N) / np.linalg.norm(teacher, axis=1, keepdims=True)
    noise = np.sqrt(S) * generator.standard_normal((runs, samples))
    targets = np.einsum("rpn,rn->rp", X, teacher) + noise
    student = np.einsum("rnp,rp->rn", np.linalg.pinv(X), targets)
    curve = learning_curve(LeastSquares(label_noise=S, dimension=N), samples / N)
    drawn = {
        "error": np.sum((student - teacher) ** 2, axis=1) / (2 * N),
        "overlap": np.sum(student * teacher, axis=1) / N,
        "norm": np.sum(student**2, axis=1) / N,
        "training_error": np.mean((targets - np.einsum("rpn,rn->rp", X, student)) ** 2, axis=1) / 2,
    }
    for name, values in drawn.items():
        assert abs(getattr(curve, name)[0] - values.mean()) < 4 * values.std() / np.sqrt(runs) + 1e-12, name
    assert curve.status == "exact"


def test_finite_size_tends_to_the_limit():
    alpha = [0.5, 0.8, 1.5, 3.0]
    finite = learning_curve(LeastSquares(label_noise=S, dimension=100_000), alpha)
    np.testing.assert_allclose(finite.error, learning_curve(LeastSquares(label_noise=S), alpha).error, rtol=1e-3)


def test_start_of_descent_stays_in_the_directions_not_seen():
    started = learning_curve(LeastSquares(label_noise=S, initial_norm=0.5), [0.4, 2.0])
    from_zero = learning_curve(LeastSquares(label_noise=S), [0.4, 2.0])
    np.testing.assert_allclose(started.error - from_zero.error, [0.5 * 0.6 / 2, 0])


@given(alpha=loads, decay=decays, noise=noises)
def test_no_ridge_beats_the_one_at_the_label_noise(alpha, decay, noise):
    best = optimal_decay(Ridge(decay=decay, label_noise=noise), alpha)
    assert best.decay[0] == noise
    assert error(Ridge(decay=decay, label_noise=noise), alpha) >= best.error[0] * (1 - 1e-12)
    assert error(LeastSquares(label_noise=noise), alpha) >= best.error[0]
    # lambda = S: error S m(S) / 2 with m the root of S m^2 + (S + alpha - 1) m = 1.
    m = max(np.roots([noise, noise + alpha - 1, -1]).real)
    assert best.error[0] == pytest.approx(noise * m / 2, rel=1e-8)


@given(alpha=loads, noise=noises)
def test_curves_meet_least_squares(alpha, noise):
    expected = learning_curve(LeastSquares(label_noise=noise), alpha)
    for estimator in (Ridge(1e-9, noise), WeightNormDecay(1e-9, noise), BatchNorm(10**9, noise)):
        curve = learning_curve(estimator, alpha)
        for name in ("error", "overlap", "norm", "training_error"):
            assert getattr(curve, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-6)


@given(alpha=loads, zeta=st.floats(1e-3, 5), noise=noises, reduction=st.sampled_from(["mean", "sum"]))
def test_gamma_decay_is_ridge(alpha, zeta, noise, reduction):
    decay = gamma_decay_to_ridge(zeta, alpha, reduction=reduction)
    assert ridge_to_gamma_decay(decay, alpha, reduction=reduction) == pytest.approx(zeta)
    assert error(WeightNormDecay(zeta, noise, reduction), alpha) == pytest.approx(error(Ridge(decay, noise), alpha))
    best = optimal_decay(WeightNormDecay(zeta, noise, reduction), alpha)
    assert best.decay[0] == pytest.approx(noise / (2 * alpha if reduction == "mean" else 2))
    assert best.error == pytest.approx(optimal_decay(Ridge(1, noise), alpha).error)


def test_conversions_keep_shapes_and_the_paper_identification():
    assert np.shape(gamma_decay_to_ridge(0.1, np.ones(3))) == (3,)
    assert isinstance(ridge_to_gamma_decay(0.1, 2.0, reduction="sum"), float)
    # Theory sheet C.2: lambda = 3 alpha / (2 M), "optimal M" = 3 alpha / (2 S) = 6 alpha at S = 0.25.
    assert gamma_decay_to_ridge(paper_gamma_decay(12), 2.0) == pytest.approx(S)


class TestBatchNorm:
    def test_formulas_of_the_sheet(self):
        c = mean_std(8)
        below, above = learning_curve(BatchNorm(8, S), [0.5, 4.0]).error
        assert below == pytest.approx((0.5 + 0.5 * (1 - c) ** 2 + c**2 * S) / 2)
        assert above == pytest.approx(((1 - c) ** 2 + c**2 * S / 3) / 2)

    @pytest.mark.parametrize(
        ("size", "loads", "factors"), [(8, [0.5, 4], [0.917, 0.904]), (32, [1.1, 4], [0.983, 0.978])]
    )
    def test_shrink_of_the_sheet(self, size, loads, factors):
        shuffled, drawn = (
            BatchNorm(size, S, dimension=100, replacement=replacement).shrink_factor(np.array(loads, dtype=float))
            for replacement in (False, True)
        )
        np.testing.assert_allclose(shuffled, factors, atol=6e-4)
        assert drawn.tolist() == [mean_std(size)] * 2

    def test_the_peak_stays(self):
        near = learning_curve(BatchNorm(8, S), [0.9, 0.99, 1.0, 1.01, 1.1])
        assert near.error[2] == np.inf
        assert near.error[1] > 5 * near.error[0]
        assert near.error[3] > 5 * near.error[4]
        ridge = WeightNormDecay(paper_gamma_decay(8), S)
        assert learning_curve(ridge, 1.0).error[0] < 0.25

    def test_direction_is_that_of_least_squares(self):
        alpha = [0.5, 2.0]
        plain = learning_curve(LeastSquares(label_noise=S), alpha)
        np.testing.assert_allclose(learning_curve(BatchNorm(8, S), alpha).cosine, plain.cosine)

    def test_whole_training_set_as_batch_is_least_squares(self):
        full = learning_curve(BatchNorm(150, S, dimension=100), 1.5)
        assert full.error == pytest.approx(learning_curve(LeastSquares(S, dimension=100), 1.5).error)

    def test_training_error_is_that_of_shrunken_least_squares(self):
        generator = np.random.default_rng(1)
        N, P = 500, 1000
        X, teacher = generator.standard_normal((P, N)) / np.sqrt(N), generator.standard_normal(N)
        targets = X @ teacher + np.sqrt(S) * generator.standard_normal(P)
        student = mean_std(4) * np.linalg.lstsq(X, targets, rcond=None)[0]
        expected = np.mean((targets - X @ student) ** 2) / 2
        assert learning_curve(BatchNorm(4, S), 2.0).training_error[0] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ridge(decay=0.0), "decay is 0.0"),
        (lambda: Ridge(decay=0.1, label_noise=-1), "label_noise is -1"),
        (lambda: LeastSquares(label_noise=np.inf), "label_noise is inf"),
        (lambda: LeastSquares(dimension=0), "dimension is 0"),
        (lambda: LeastSquares(initial_norm=-1), "initial_norm is -1"),
        (lambda: WeightNormDecay(zeta=-0.1), "zeta is -0.1"),
        (lambda: WeightNormDecay(zeta=0.1, reduction="none"), "reduction is 'none'"),
        (lambda: BatchNorm(batch_size=1), "batch_size is 1"),
        (lambda: learning_curve(BatchNorm(8, dimension=10), 0.5), "exceeds the 5 training samples"),
        (lambda: learning_curve(LeastSquares(), [1.0, 0.0]), "alpha is "),
        (lambda: learning_curve(LeastSquares(), [[1.0]]), "alpha has 2 dimensions"),
        (lambda: gamma_decay_to_ridge(0.1, -1.0), "alpha is -1.0"),
        (lambda: optimal_decay(LeastSquares(), 1.0), "LeastSquares has no decay"),
        (lambda: optimal_decay(Ridge(decay=0.1), 1.0), "label_noise > 0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
