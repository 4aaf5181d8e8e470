"""Trained students: stationary points by autograd, equalities between estimators, errors by drawn inputs."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from bnlens.errors import UsageError
from bnlens.simulate.generalization import Student, draw_training_set, fit_student
from bnlens.simulate.generalization._batch_norm import BatchLoss
from bnlens.theory.generalization import (
    BatchNorm,
    LeastSquares,
    ReluRidge,
    Ridge,
    WeightNormDecay,
    gamma_decay_to_ridge,
    paper_gamma_decay,
)

S = 0.25


def draw(alpha, dimension=100, seed=0, **more):
    return draw_training_set(samples=round(alpha * dimension), dimension=dimension, label_noise=S, seed=seed, **more)


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_ridge_is_stationary(alpha):
    data = draw(alpha)
    v = torch.tensor(fit_student(Ridge(0.1, S), data).weights, requires_grad=True)
    residual = torch.tensor(data.targets) - torch.tensor(data.inputs) @ v
    (residual.square().sum() / 2 + 0.1 * v.square().sum() / 2).backward()
    assert v.grad.abs().max() < 1e-11


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weight_norm_with_gamma_decay_descends_to_ridge(alpha, reduction):
    data = draw(alpha, seed=1)
    decayed = fit_student(WeightNormDecay(0.1, S, reduction), data, seed=2).weights
    ridge = fit_student(Ridge(gamma_decay_to_ridge(0.1, alpha, reduction=reduction), S), data).weights
    assert np.linalg.norm(decayed - ridge) < 1e-6 * np.linalg.norm(ridge)


def test_least_squares_keeps_what_the_data_do_not_see():
    data = draw(0.5)
    started = fit_student(LeastSquares(S, initial_norm=4.0), data, seed=3)
    shortest = fit_student(LeastSquares(S), data)
    np.testing.assert_allclose(data.inputs @ started.weights, data.targets, atol=1e-9)
    assert started.norm() > shortest.norm() + 1
    assert cosine(started.weights - shortest.weights, shortest.weights) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.5])
@pytest.mark.parametrize("replacement", [False, True])
def test_batch_norm_is_stationary_for_the_layer_of_torch(alpha, replacement):
    data = draw(alpha, dimension=40)
    student = fit_student(BatchNorm(8, S, replacement=replacement), data, seed=4, epochs=20)
    how = {"batch_size": 8, "replacement": replacement, "epochs": 20, "generator": np.random.default_rng(4)}
    batches = torch.tensor(BatchLoss(data.targets, **how)._batches.astype(np.int64))
    inputs, targets = torch.tensor(data.inputs), torch.tensor(data.targets)
    linear = torch.nn.Linear(40, 1, bias=False, dtype=torch.float64)
    layer = torch.nn.BatchNorm1d(1, eps=1e-14, dtype=torch.float64)
    fields = data.inputs @ student.weights
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(student.weights)[None])
        layer.weight.fill_(fields.std())
        layer.bias.fill_(student.intercept + fields.mean())
    losses = [(targets[batch] - layer(linear(inputs[batch]))[:, 0]).square().mean() / 2 for batch in batches]
    loss = torch.stack(losses).mean()
    loss.backward()
    scale = linear.weight.norm()
    assert (linear.weight.grad * scale).abs().max() < 1e-6
    assert layer.weight.grad.abs().max() < 1e-10
    assert layer.bias.grad.abs().max() < 1e-10
    population = (targets - torch.tensor(student.outputs(data.inputs))).square().mean() / 2
    assert loss.item() > population.item()  # the gap is there


def test_gradient_of_the_batch_loss():
    data = draw(2.0, dimension=20)
    loss = BatchLoss(data.targets, batch_size=7, replacement=False, epochs=3, generator=np.random.default_rng(0))
    fields = np.random.default_rng(1).standard_normal(data.samples)
    _, gradient = loss.gamma(fields)
    for index in (0, 17, 33):
        step = np.zeros_like(fields)
        step[index] = 1e-6
        slope = (loss.gamma(fields + step)[0] - loss.gamma(fields - step)[0]) / 2e-6
        assert gradient[index] == pytest.approx(slope, abs=1e-8)


# Theory sheet C.3: cosine with least squares above 0.99 for alpha >= 1.5, norm ratio c_M / c_P.
@pytest.mark.parametrize(("size", "alpha"), [(8, 1.5), (8, 4.0), (32, 1.5), (32, 2.0), (32, 4.0)])
def test_batch_norm_is_shrunken_least_squares_and_not_ridge(size, alpha):
    cosines, ridge_cosines, ratios = [], [], []
    for seed in range(4):
        data = draw(alpha, seed=seed)
        # The mean over a batch is taken off, and beta is free: the intercept of least squares is fitted too.
        plain = fit_student(LeastSquares(S), data.centred())
        ridge = fit_student(WeightNormDecay(paper_gamma_decay(size), S), data.centred())
        student = fit_student(BatchNorm(size, S), data, seed=seed)
        assert student.gradient < 1e-6
        cosines.append(cosine(student.weights, plain.weights))
        ridge_cosines.append(cosine(student.weights, ridge.weights))
        ratios.append(np.sqrt(student.norm() / plain.norm()))
    assert np.mean(cosines) > 0.99
    assert np.mean(cosines) > np.mean(ridge_cosines)
    expected = BatchNorm(size, S, dimension=100).shrink_factor(np.array([alpha]))[0]
    assert np.mean(ratios) == pytest.approx(expected, abs=0.01)


def test_batch_norm_is_least_squares_with_an_intercept():
    data = draw(1.1, seed=3)
    student = fit_student(BatchNorm(8, S), data)
    with_intercept, without = (fit_student(LeastSquares(S), each).weights for each in (data.centred(), data))
    assert cosine(student.weights, with_intercept) > 0.99
    assert cosine(student.weights, without) < 0.96


def test_below_one_batch_norm_interpolates_in_the_direction_of_least_squares():
    data = draw(0.5, seed=5)
    student = fit_student(BatchNorm(8, S), data)
    plain = fit_student(LeastSquares(S), data.centred())
    assert cosine(student.weights, plain.weights) == pytest.approx(1, abs=1e-9)


def test_drawing_with_replacement_shrinks_more():
    ways = [BatchNorm(10, S, replacement=replacement, dimension=100) for replacement in (False, True)]
    ratios = []
    for seed in range(12):
        shuffled, drawn = (fit_student(way, draw(0.5, seed=seed), seed=seed).norm() for way in ways)
        ratios.append(np.sqrt(drawn / shuffled))
    shuffled_factor, drawn_factor = (way.shrink_factor(np.array([0.5]))[0] for way in ways)
    assert np.mean(ratios) == pytest.approx(drawn_factor / shuffled_factor, abs=0.003)
    assert drawn_factor / shuffled_factor < 0.99


@pytest.mark.parametrize("start", ["small", "teacher"])
def test_relu_student_rests_at_a_local_minimum(start):
    data = draw(2.0, dimension=50, teacher="relu")
    student = fit_student(ReluRidge(0.25, S), data, start=start)

    def objective(weights):
        outputs = np.maximum(data.inputs @ weights, 0)
        return np.sum((data.targets - outputs) ** 2) / 2 + 0.125 * weights @ weights

    generator = np.random.default_rng(0)
    least = objective(student.weights)
    for _ in range(50):
        direction = generator.standard_normal(50) / np.sqrt(50)
        assert objective(student.weights + 1e-2 * direction) > least
    assert least < objective(data.teacher)


@pytest.mark.parametrize(("activation", "teacher"), [("linear", "linear"), ("relu", "linear"), ("relu", "relu")])
def test_error_is_that_on_drawn_inputs(activation, teacher):
    data = draw(1.0, dimension=20, teacher=teacher)
    generator = np.random.default_rng(6)
    weights = data.teacher + generator.standard_normal(20)
    student = Student(weights, intercept=0.3 if activation == "linear" else 0.0, activation=activation)
    fresh = generator.standard_normal((400_000, 20)) / np.sqrt(20)
    clean = fresh @ data.teacher
    clean = np.maximum(clean, 0) if teacher == "relu" else clean
    squares = (clean - student.outputs(fresh)) ** 2 / 2
    assert abs(student.error(data) - squares.mean()) < 4 * squares.std() / np.sqrt(len(squares))


def test_centred_set_gives_least_squares_with_an_intercept():
    data = draw(2.0, dimension=20)
    design = np.column_stack([np.ones(data.samples), data.inputs])
    expected = np.linalg.lstsq(design, data.targets, rcond=None)[0]
    np.testing.assert_allclose(fit_student(LeastSquares(S), data.centred()).weights, expected[1:], atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw_training_set(samples=0, dimension=5), "samples is 0"),
        (lambda: draw_training_set(samples=5, dimension=0), "dimension is 0"),
        (lambda: draw_training_set(samples=5, dimension=5, label_noise=-1), "label_noise is -1"),
        (lambda: draw_training_set(samples=5, dimension=5, teacher="tanh"), "teacher is 'tanh'"),
        (lambda: fit_student(BatchNorm(8), draw(0.05)), "exceeds the 5 training samples"),
        (lambda: fit_student(BatchNorm(8), draw(1.0), epochs=0), "epochs is 0"),
        (lambda: fit_student(ReluRidge(0.1), draw(1.0), start="large"), "start is 'large'"),
        (
            lambda: fit_student("ridge", draw(1.0)),
            "estimator is 'ridge'; it must be a bnlens.theory.generalization.Estimator",
        ),
        (lambda: Student(np.ones(100)).error(draw(1.0, teacher="relu")), "linear student"),
        (lambda: Student(np.ones(100), 1.0, "relu").error(draw(1.0)), "intercept=1"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_small_matrices_are_multiplied_by_one_thread_and_the_setting_is_put_back(monkeypatch):
    seen = []

    def blas_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def spy(*arguments):
        seen.extend(blas_threads())
        return Student(np.ones(20))

    monkeypatch.setattr("bnlens.simulate.generalization.fit._fit_ridge", spy)
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        fit_student(Ridge(0.1), draw(1.0, dimension=20))
        assert blas_threads() == before
    assert seen
    assert set(seen) == {1}
