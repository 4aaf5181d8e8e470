"""Order parameters against the tables of theory sheet B.1 to B.3, exact solutions and their limits."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import UsageError
from bnlens.theory import mean_std, paper_zeta
from bnlens.theory.dynamics import COLUMNS, SGD, BatchNorm, GammaDecay, WeightNorm

START = {"gamma": 0.3, "R": 0.2, "L": 1.0}  # of all tables of the sheet

# unit, M, tau, BN and PN + decay (gamma, R, L); theory sheet B.3, label noise 0.25, learning rate 1. The sheet drew the
# averages of ReLU batches at random, which makes its BN columns good to 1e-3.
BATCH_NORM = [
    ("linear", 8, 8, (0.8896, 0.9913, 1.0923), (0.8345, 0.9933, 1.0786), 6e-5),
    ("linear", 32, 8, (0.9714, 0.9980, 1.0246), (0.9511, 0.9982, 1.0240), 6e-5),
    ("linear", 128, 8, (0.9908, 0.9995, 1.0063), (0.9853, 0.9995, 1.0064), 6e-5),
    ("linear", 8, 2, (0.4263, 0.6434, 1.0157), (0.4316, 0.6761, 1.0131), 6e-5),
    ("relu", 8, 8, (0.7185, 0.8664, 1.0438), (0.6899, 0.9035, 1.0355), 1e-3),
    ("relu", 32, 8, (0.8115, 0.9384, 1.0107), (0.8013, 0.9439, 1.0107), 1e-3),
    ("relu", 128, 4, (0.5491, 0.6258, 1.0010), (0.5471, 0.6278, 1.0010), 1e-3),
]


def last(trajectory):
    return [float(values[-1]) for values in (trajectory.gamma, trajectory.R, trajectory.L)]


@pytest.mark.parametrize(("unit", "size", "tau", "batch_norm", "decay", "tolerance"), BATCH_NORM)
def test_batch_norm_table_of_the_sheet(unit, size, tau, batch_norm, decay, tolerance):
    system = BatchNorm(unit=unit, learning_rate=1.0, batch_size=size, label_noise=0.25)
    np.testing.assert_allclose(last(system.solve([tau], **START)), batch_norm, atol=tolerance)
    np.testing.assert_allclose(last(system.as_gamma_decay().solve([tau], **START)), decay, atol=6e-5)


@pytest.mark.parametrize(
    ("unit", "tau", "expected"), [("linear", 8, (0.7900, 0.9574, 1.4188)), ("relu", 12, (0.6143, 0.8804, 1.2754))]
)
def test_gamma_decay_values_of_the_sheet(unit, tau, expected):
    system = GammaDecay(unit=unit, learning_rate=1.0, zeta=0.1, label_noise=0.25)
    np.testing.assert_allclose(last(system.solve([1, tau], **START)), expected, atol=6e-5)


def test_half_of_the_decay_has_the_limit_of_batch_norm_but_not_its_transient():
    batch_norm = BatchNorm(unit="linear", learning_rate=1.0, batch_size=8, label_noise=0.25)
    half = dataclasses.replace(batch_norm.as_gamma_decay(), zeta=paper_zeta("linear", 8) / 2)
    found = [system.solve([4, 40], **START) for system in (half, batch_norm)]
    np.testing.assert_allclose([path.R[0] for path in found], [0.9606, 0.9328], atol=6e-5)
    np.testing.assert_allclose([path.gamma[1] for path in found], [0.9103, 0.8979], atol=6e-5)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_distance_to_a_linear_teacher_decays_exactly(batch_size):
    eta, S, tau = 0.7, 0.3, np.array([0.0, 0.5, 2.0, 9.0])
    path = SGD(unit="linear", learning_rate=eta, label_noise=S, batch_size=batch_size).solve(tau, R=-0.4, L=1.7)
    distance = 1 + path.L**2 - 2 * path.L * path.R
    limit = eta * S / (2 * batch_size - eta)
    rate = 2 * eta - eta**2 / batch_size
    np.testing.assert_allclose(distance, limit + (distance[0] - limit) * np.exp(-rate * tau), rtol=1e-6)
    np.testing.assert_array_equal(path.gamma, path.L)
    np.testing.assert_allclose(path.generalization_error, distance / 2)


@pytest.mark.parametrize(("unit", "too_much"), [("linear", 8.5), ("relu", 14.0)])
def test_sgd_that_diverges_says_so(unit, too_much):
    settled = SGD(unit=unit, learning_rate=7.9, batch_size=4).solve([0, 400], R=0.5)
    assert settled.generalization_error[-1] < 1e-3
    with pytest.raises(UsageError, match=rf"SGD with learning_rate={too_much} diverges before tau=400"):
        SGD(unit=unit, learning_rate=too_much, batch_size=4).solve([400], R=0.5)


def test_relu_sgd_just_above_its_threshold_settles_beside_the_teacher():
    path = SGD(unit="relu", learning_rate=8.5, batch_size=4).solve([200, 400], R=0.5)
    assert path.R[0] == pytest.approx(path.R[1], abs=1e-5)
    assert path.R[1] < 0.9


@pytest.mark.parametrize("unit", ["linear", "relu"])
def test_weight_norm_learns_at_any_rate_because_its_norm_grows(unit):
    path = WeightNorm(unit=unit, learning_rate=20.0).solve([40], **START)
    np.testing.assert_allclose([path.gamma[0], path.R[0]], [1, 1], atol=1e-6)
    assert path.effective_learning_rate[0] < 2
    assert path.effective_learning_rate[0] == pytest.approx(20 * path.gamma[0] / path.L[0] ** 2)


@pytest.mark.parametrize(("unit", "gamma0", "share"), [("linear", 1 / 1.2, 1.0), ("relu", 1 / 1.4, 0.5)])
def test_gamma_decay_comes_near_its_fixed_point_only_as_the_norm_grows(unit, gamma0, share):
    path = GammaDecay(unit=unit, learning_rate=1.0, zeta=0.1).solve([1e4, 1e5, 1e6], **START)
    gap = np.log(1 - path.R)
    np.testing.assert_allclose(np.diff(gap) / np.log(10), -0.5, atol=0.02)  # 1 - R falls as tau^(-1/2)
    assert path.gamma[-1] == pytest.approx(gamma0, abs=2e-3)
    noise = share * (1 - gamma0) ** 2
    assert path.L[-1] ** 4 == pytest.approx(2 * gamma0**2 * noise * 1e6, rel=0.03)


@pytest.mark.parametrize(("size", "linear", "relu"), [(8, 0.90270, 0.90871), (32, 0.97635, 0.97697)])
def test_batch_norm_without_label_noise_ends_at_its_own_gamma(size, linear, relu):
    # The ReLU values are means over 8e6 drawn samples, 2 E[z+ zh+], with standard errors 2e-5 and 3e-6.
    for unit, gamma0, reached in (("linear", linear, 60), ("relu", relu, 1e6)):
        path = BatchNorm(unit=unit, learning_rate=1.0, batch_size=size).solve([reached], **START)
        assert path.gamma[0] == pytest.approx(gamma0, abs=5e-5)
        assert path.R[0] == pytest.approx(1, abs=5e-5)


def test_fixed_point_of_linear_batch_norm_is_exact():
    system = BatchNorm(unit="linear", learning_rate=3.0, batch_size=8)
    assert system.drift(mean_std(8), 1.0, 0.7) == (0.0, 0.0, 0.0)
    decay = system.as_gamma_decay()
    assert decay.drift(1 / (1 + 2 * decay.zeta), 1.0, 0.7)[1] < 0


@pytest.mark.parametrize("unit", ["linear", "relu"])
def test_large_batches_have_population_statistics(unit):
    def averages(size, gamma=0.6, R=0.4):
        small, large = (
            kind(unit=unit, learning_rate=1.0, batch_size=size, label_noise=0.1).averages(gamma, R)
            for kind in (BatchNorm, WeightNorm)
        )
        return (np.array(large) - small)[:2]

    # Terms of batch norm that do not fall with M: its backward pass takes a line out of the errors.
    far, near = averages(512), averages(256)
    assert np.all(np.abs(near) < 0.01)
    np.testing.assert_allclose(near, 2 * far, rtol=0.05)


@given(
    unit=st.sampled_from(["linear", "relu"]),
    kind=st.sampled_from([WeightNorm, GammaDecay, BatchNorm]),
    eta=st.floats(0.05, 30),
    size=st.integers(4, 64),
    noise=st.floats(0, 2),
    gamma=st.floats(0, 3),
    R=st.floats(-1, 1),
    L=st.floats(0.2, 3),
)
def test_overlap_stays_a_correlation_and_the_norm_never_shrinks(unit, kind, eta, size, noise, gamma, R, L):
    size = size if unit == "linear" or kind is not BatchNorm else 8  # one table for all examples
    extra = {"zeta": 0.05} if kind is GammaDecay else {}
    system = kind(unit=unit, learning_rate=eta, batch_size=size, label_noise=noise, **extra)
    path = system.solve(np.linspace(0, 5, 21), gamma=gamma, R=R, L=L)
    assert np.all(np.abs(path.R) <= 1)
    assert np.all(np.diff(path.L) >= -1e-7 * L)
    assert np.all(path.generalization_error >= -1e-8)
    frozen = system.solve([2.0, 5.0], gamma=gamma, R=R, L=L, freeze_norm=True)
    np.testing.assert_allclose(frozen.L, L)


@given(R=st.floats(-1, 1), gamma=st.floats(0, 3), size=st.integers(4, 64))
def test_noise_is_positive_and_alignment_vanishes_at_the_teacher(R, gamma, size):
    system = BatchNorm(unit="linear", learning_rate=1.0, batch_size=size)
    relu = BatchNorm(unit="relu", learning_rate=1.0, batch_size=8)
    for averages in (system.averages(gamma, R), relu.averages(gamma, R)):
        assert averages.noise >= -1e-12
        assert averages.alignment >= -1e-12
    assert relu.averages(gamma, 1.0).alignment == pytest.approx(0, abs=1e-12)


def test_systems_are_solved_side_by_side():
    kinds, units = (SGD, WeightNorm, BatchNorm), ("linear", "relu")
    systems = [kinds[k % 3](unit=units[k % 2], learning_rate=0.5 + k / 80, batch_size=8) for k in range(80)]
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda system: system.solve(np.linspace(0, 10, 41), R=0.2), systems))
    for system, path in zip(systems, paths, strict=True):
        alone = system.solve(np.linspace(0, 10, 41), R=0.2)
        np.testing.assert_allclose([path.gamma, path.R, path.L], [alone.gamma, alone.R, alone.L], rtol=1e-12)


def test_trajectory_as_frame_and_figure():
    path = WeightNorm(unit="relu", learning_rate=1.0).solve([0, 1, 2], **START)
    frame = path.to_frame()
    assert list(frame) == ["gamma", "R", "L", "generalization_error"]
    assert frame.index.name == "tau"
    assert frame.loc[0].tolist()[:3] == pytest.approx([0.3, 0.2, 1.0])
    assert [trace.name for trace in path.plot().data] == ["gamma", "overlap R", "norm L", "generalization error"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        path.tau = None
    assert WeightNorm(unit="relu", learning_rate=1.0).solve(0.0).gamma.tolist() == [1.0]


@pytest.mark.parametrize("unit", ["linear", "relu"])
@pytest.mark.parametrize(("kind", "frozen"), [(SGD, False), (WeightNorm, False), (WeightNorm, True), (BatchNorm, True)])
def test_a_trajectory_is_drawn_between_its_times(kind, unit, frozen):
    system = kind(unit=unit, learning_rate=2.0, batch_size=8, label_noise=0.1)
    start = {"R": 0.2, "freeze_norm": frozen} | ({} if kind is SGD else {"gamma": 0.3})
    times = np.linspace(0.5, 8, 301)
    whole = system.solve(times, **start)
    for few in ([0.5, 8.0], [0.5, 1.0, 8.0]):
        for trace, name in zip(system.solve(few, **start).plot().data, COLUMNS, strict=True):
            assert (trace.x[0], trace.x[-1]) == (0.5, 8.0)
            assert len(trace.x) > 150
            np.testing.assert_allclose(np.interp(times, trace.x, trace.y), getattr(whole, name), atol=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(unit="tanh", learning_rate=1.0), "'tanh'"),
        (lambda: SGD(unit="relu", learning_rate=0.0), "learning_rate is 0.0"),
        (lambda: SGD(unit="relu", learning_rate=math.inf), "learning_rate is inf"),
        (lambda: WeightNorm(unit="relu", learning_rate=1.0, batch_size=0), "batch_size is 0"),
        (lambda: BatchNorm(unit="relu", learning_rate=1.0, batch_size=3), "BatchNorm needs .* 4 or more"),
        (lambda: WeightNorm(unit="relu", learning_rate=1.0, label_noise=-0.1), "label_noise is -0.1"),
        (lambda: GammaDecay(unit="relu", learning_rate=1.0, zeta=-0.1), "zeta is -0.1"),
    ],
)
def test_impossible_systems_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (WeightNorm, {"R": 1.5}, "R is 1.5"),
        (WeightNorm, {"L": 0}, "L is 0"),
        (WeightNorm, {"gamma": -1.0}, "gamma=-1.0"),
        (WeightNorm, {"gamma": math.nan}, "gamma is nan"),
        (SGD, {"gamma": 0.5}, "set L alone"),
        (SGD, {"freeze_norm": True}, "freeze_norm"),
        (WeightNorm, {"tau": [2, 1]}, "increase"),
        (WeightNorm, {"tau": [-1, 1]}, "increase"),
        (WeightNorm, {"tau": []}, "finite times"),
    ],
)
def test_impossible_starts_are_refused(kind, arguments, message):
    with pytest.raises(UsageError, match=message):
        kind(unit="relu", learning_rate=1.0).solve(**{"tau": [1.0], **arguments})
