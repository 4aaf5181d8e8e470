"""Students of finite size against the equations, plain NumPy twins of the algorithms, and each other."""

import numpy as np
import pytest
import torch

from bnlens.errors import UsageError
from bnlens.simulate import simulate_dynamics
from bnlens.simulate._students import Students
from bnlens.theory.dynamics import SGD, BatchNorm, GammaDecay, System, WeightNorm
from bnlens.theory.learning_rate import max_learning_rate

NAMES = ("gamma", "R", "L", "generalization_error")
START = {"gamma": 0.3, "R": 0.2, "L": 1.0}

SYSTEMS = [
    SGD(unit="linear", learning_rate=1.0, label_noise=0.25),
    SGD(unit="relu", learning_rate=1.0, label_noise=0.25, batch_size=3),
    WeightNorm(unit="linear", learning_rate=1.0, label_noise=0.25, batch_size=2),
    WeightNorm(unit="relu", learning_rate=1.5),
    *(GammaDecay(unit=unit, learning_rate=1.0, zeta=0.1, label_noise=0.25) for unit in ("linear", "relu")),
    *(BatchNorm(unit=unit, learning_rate=1.0, label_noise=0.25, batch_size=8) for unit in ("linear", "relu")),
]
each_system = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: f"{type(system).__name__}-{system.unit}")


def start_of(system):
    return {**START, "gamma": None} if system.tied else START


@each_system
def test_follows_the_equations(system):
    size = 300
    simulated = simulate_dynamics(system, [0, 1, 4], **start_of(system), size=size, runs=24, seed=1)
    solved = system.solve([0, 1, 4], **start_of(system))
    for name in NAMES:
        value, stderr = getattr(simulated, name), getattr(simulated, f"{name}_stderr")
        assert np.all(np.abs(value - getattr(solved, name)) <= 3 * stderr + 2 / size)
        assert np.all(stderr[1:] < 0.03)
        assert stderr[0] < 1e-6


@each_system
def test_one_step_is_the_gradient_step_of_autograd(system):
    size, generator = 40, torch.Generator().manual_seed(3)
    weights = torch.randn(2, size, generator=generator)
    inputs = torch.randn(2, system.batch_size, size, generator=generator)
    noise = torch.randn(2, system.batch_size, generator=generator)
    students = Students(system, weights.clone().numpy(), 0.7)
    students.step(inputs.numpy(), noise.numpy())
    gammas, moved = students.gamma, students._weights
    for run in range(2):
        w = weights[run].double().requires_grad_()
        gamma = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        x = inputs[run].double() / size**0.5
        activation = torch.relu if system.unit == "relu" else lambda y: y
        target = activation(x[:, 0] * size**0.5) + system.label_noise**0.5 * noise[run].double()
        h = x @ w
        if isinstance(system, BatchNorm):
            h = gamma * (h - h.mean()) / h.std(unbiased=False)
        elif isinstance(system, WeightNorm):
            h = gamma * h * size**0.5 / w.norm()
        loss = ((target - activation(h)) ** 2).mean() / 2 + getattr(system, "zeta", 0.0) * gamma**2
        loss.backward()
        np.testing.assert_allclose(moved[run], (w - system.learning_rate * w.grad).detach(), atol=2e-6)
        if not system.tied:
            expected = gamma - system.learning_rate / size * gamma.grad
            assert gammas[run] == pytest.approx(expected.item(), abs=1e-7)


@pytest.mark.parametrize(("kind", "threshold"), [(WeightNorm, 16.0), (BatchNorm, 13.3333)])
def test_frozen_norm_learns_up_to_the_maximum_rate(kind, threshold):
    for eta in (10.0, 24.0):
        system = kind(unit="linear", learning_rate=eta, batch_size=8)
        assert max_learning_rate(system) == pytest.approx(threshold, abs=1e-3)
        path = simulate_dynamics(system, [6], gamma=0.8, R=0.7, freeze_norm=True, size=400, runs=8, seed=int(eta))
        assert path.L[0] == pytest.approx(1, abs=1e-5)
        expected = np.sqrt(min(1, threshold / eta))
        assert abs(path.R[0] - expected) < 3 * path.R_stderr[0] + 4 / 400


def test_distance_to_the_equations_falls_as_one_over_the_size():
    system = WeightNorm(unit="linear", learning_rate=1.0, label_noise=1.0)
    exact = system.solve([4], **START).generalization_error[0]
    scaled = []
    for size, runs in ((25, 1600), (100, 400)):
        path = simulate_dynamics(system, [4], **START, size=size, runs=runs)
        distance, stderr = path.generalization_error[0] - exact, path.generalization_error_stderr[0]
        scaled.append((size * distance, size * stderr))
    (far, far_error), (near, near_error) = scaled
    assert far > 10 * far_error
    assert near > 4 * near_error
    assert abs(near - far) < 3 * np.hypot(near_error, far_error)


def test_same_seed_same_numbers_and_runs_do_not_depend_on_their_number():
    system = BatchNorm(unit="relu", learning_rate=1.0, batch_size=4, label_noise=0.1)
    few, again, more, other = (
        simulate_dynamics(system, [1], size=50, runs=runs, seed=seed) for runs, seed in ((2, 7), (2, 7), (3, 7), (2, 8))
    )
    np.testing.assert_array_equal(few.R, again.R)
    assert not np.array_equal(few.R, other.R)
    # The mean and the error of two runs say both; with the mean of three they say the third, and then the error of three.
    first_two = few.R + np.array([-1, 1]) * few.R_stderr
    third = 3 * more.R - 2 * few.R
    stderr = np.std([*first_two, *third], ddof=1) / np.sqrt(3)
    assert more.R_stderr[0] == pytest.approx(stderr, rel=1e-5)


def test_groups_and_blocks_change_nothing(monkeypatch):
    system = WeightNorm(unit="relu", learning_rate=1.0, batch_size=2)
    whole = simulate_dynamics(system, [0.3, 1], size=64, runs=5, seed=2)
    for name, values in (("_GROUP_VALUES", 2 * 2**15), ("_BLOCK_VALUES", 2**9)):
        monkeypatch.setattr(f"bnlens.simulate.dynamics.{name}", values)
        split = simulate_dynamics(system, [0.3, 1], size=64, runs=5, seed=2)
        np.testing.assert_allclose(split.R, whole.R, rtol=1e-6)
        np.testing.assert_allclose(split.R_stderr, whole.R_stderr, rtol=1e-5)


def test_progress_counts_the_steps_of_all_runs():
    calls = []
    system = SGD(unit="linear", learning_rate=1.0)
    path = simulate_dynamics(system, [0, 0.5, 2], size=100, runs=3, progress=lambda *call: calls.append(call))
    assert calls[-1] == (600, 600)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    np.testing.assert_allclose(path.tau, [0, 0.5, 2])


def test_frame_and_figure():
    system = WeightNorm(unit="linear", learning_rate=1.0)
    path = simulate_dynamics(system, [0, 1], size=20, runs=2)
    frame = path.to_frame()
    assert frame.shape == (2, 8)
    assert frame["R_stderr"].iloc[1] > 0
    figure = path.plot(system.solve([0, 1]).plot())
    assert len(figure.data) == 8
    assert len(path.plot().data[0].error_y.array) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1}, "size is 1"),
        ({"runs": 1}, "runs is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"R": 2.0}, "R is 2.0"),
        ({"tau": [0.5, 0.501]}, "less than one step"),
        ({"system": SGD(unit="linear", learning_rate=9.0), "tau": [300]}, "diverges before tau=300"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    usual = {"system": WeightNorm(unit="relu", learning_rate=1.0), "tau": [1.0], "size": 20, "runs": 2}
    with pytest.raises(UsageError, match=message):
        simulate_dynamics(**{**usual, **arguments})


def test_unknown_systems_are_refused():
    class Other(System):
        def averages(self, gamma, R):
            raise NotImplementedError

    with pytest.raises(UsageError, match="Other"):
        simulate_dynamics(Other(unit="linear", learning_rate=1.0), [1.0], size=20)
