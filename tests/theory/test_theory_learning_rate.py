"""Fixed points and learning rates against the closed forms and numbers of theory sheet B.2, B.3 and the dynamics."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import UsageError
from bnlens.theory import mean_inverse_std, mean_std
from bnlens.theory.dynamics import SGD, BatchNorm, GammaDecay, WeightNorm
from bnlens.theory.learning_rate import (
    effective_learning_rate,
    fixed_point,
    max_learning_rate,
    orderings,
    stability,
    stationary_state,
)

units = pytest.mark.parametrize("unit", ["linear", "relu"])
exact_kinds = pytest.mark.parametrize("kind", [WeightNorm, BatchNorm])


@given(zeta=st.floats(0, 0.3), size=st.integers(1, 64), norm=st.floats(0.5, 2))
def test_closed_forms_of_gamma_decay(zeta, size, norm):
    for unit, share, noise in (("linear", 2 * zeta, 1.0), ("relu", 4 * zeta, 0.5)):
        system = GammaDecay(unit=unit, learning_rate=1.0, batch_size=size, zeta=zeta)
        gamma0 = 1 / (1 + share)
        point = fixed_point(system)
        assert point.gamma == pytest.approx(gamma0)
        assert size * point.noise == pytest.approx(noise * (1 - gamma0) ** 2, abs=1e-12)
        largest = 2 * size * norm**2 * (1 + share) ** 3 / (1 + share - share**2 / 2)
        assert max_learning_rate(system, norm=norm) == pytest.approx(largest, rel=1e-5)
        assert effective_learning_rate(system, norm=norm) == pytest.approx(gamma0 / norm**2)


def test_no_maximum_once_gamma_is_small():
    for zeta, finite in ((1.36, True), (1.37, False)):  # gamma0 = 2 - sqrt(3) at zeta = 1.366
        system = GammaDecay(unit="linear", learning_rate=1.0, zeta=zeta)
        assert math.isfinite(max_learning_rate(system)) == finite


@pytest.mark.parametrize("size", [4, 8, 32, 128])
def test_closed_form_of_linear_batch_norm(size):
    system = BatchNorm(unit="linear", learning_rate=1.0, batch_size=size)
    expected = 2 * (size - 3) * mean_inverse_std(size) / mean_std(size)
    assert max_learning_rate(system, norm=1.3) == pytest.approx(1.69 * expected, rel=1e-6)
    assert fixed_point(system).gamma == pytest.approx(mean_std(size))


@pytest.mark.parametrize(("size", "batch_norm", "decay"), [(8, 13.33, 22.87), (32, 61.9, 70.2), (128, 254.0, 262.1)])
def test_numbers_of_the_sheet(size, batch_norm, decay):
    system = BatchNorm(unit="linear", learning_rate=1.0, batch_size=size)
    assert max_learning_rate(system) == pytest.approx(batch_norm, abs=0.05)
    assert max_learning_rate(system.as_gamma_decay()) == pytest.approx(decay, abs=0.05)
    for kind in (SGD, WeightNorm):
        for unit in ("linear", "relu"):
            plain = kind(unit=unit, learning_rate=1.0, batch_size=size, label_noise=0.2)
            assert max_learning_rate(plain) == pytest.approx(2 * size, rel=1e-6)


@units
@exact_kinds
def test_rates_are_those_of_the_solved_dynamics(unit, kind):
    system = kind(unit=unit, learning_rate=3.0, batch_size=8)
    point, rates = fixed_point(system), stability(system)

    def end(gamma, deviation):
        path = system.solve([0.2], gamma=point.gamma + gamma, R=1 - deviation, freeze_norm=True)
        return path.gamma[0], path.R[0]

    # Differences of two ends: the sign flips of ReLU batches leave some noise, to which all starts drift alike.
    moved = end(1e-4, 0)[0] - end(-1e-4, 0)[0]
    assert np.log(moved / 2e-4) / 0.2 == pytest.approx(rates.gamma, rel=1e-2)
    moved = end(0, 1e-4)[1] - end(0, 3e-4)[1]
    assert np.log(moved / 2e-4) / 0.2 == pytest.approx(rates.overlap, rel=3e-2)
    assert rates.is_stable


@units
@exact_kinds
def test_overlap_turns_unstable_at_the_maximum(unit, kind):
    largest = max_learning_rate(kind(unit=unit, learning_rate=1.0, batch_size=8), norm=0.8)
    for factor, holds in ((0.999, True), (1.001, False)):
        rates = stability(kind(unit=unit, learning_rate=factor * largest, batch_size=8), norm=0.8)
        assert (rates.overlap < 0) == rates.is_stable == holds


@exact_kinds
@pytest.mark.parametrize("eta", [5.0, 12.5, 20.0, 28.0, 80.0])
def test_linear_stationary_overlap_above_the_maximum(kind, eta):
    system = kind(unit="linear", learning_rate=eta, batch_size=8)
    state = stationary_state(system)
    np.testing.assert_allclose(state.R**2, min(1, max_learning_rate(system) / eta), rtol=1e-6)
    assert state.gamma == pytest.approx(state.R * fixed_point(system).gamma)


@units
@pytest.mark.parametrize("kind", [WeightNorm, BatchNorm, GammaDecay])
@pytest.mark.parametrize("eta", [2.0, 25.0])
def test_stationary_state_is_where_the_dynamics_end(unit, kind, eta):
    extra = {"zeta": 0.1} if kind is GammaDecay else {}
    system = kind(unit=unit, learning_rate=eta, batch_size=8, label_noise=0.1, **extra)
    path = system.solve([300], gamma=0.5, R=0.3, L=1.1, freeze_norm=True)
    state = stationary_state(system, norm=1.1)
    assert (state.gamma, state.R) == pytest.approx((path.gamma[0], path.R[0]), abs=1e-5)


@pytest.mark.parametrize(("unit", "size"), [("linear", 4), ("linear", 8), ("linear", 128), ("relu", 4), ("relu", 32)])
def test_orderings_of_the_maximum_hold_for_the_paper_s_model_alone(unit, size):
    found = {(row.quantity, row.model): row for row in orderings(unit, size)}
    assert [key for key, row in found.items() if row.holds] == [("maximum", "GammaDecay")]
    zeta = {"linear": 3 / 4, "relu": 3 / 8}[unit] / size
    assert found["effective", "BatchNorm"].bound == pytest.approx(1 + zeta)
    assert found["maximum", "BatchNorm"].bound == pytest.approx(2 * size + 2 * zeta)


def test_relu_batch_norm_exceeds_weight_norm_by_little_for_large_batches():
    rates = {row.quantity: row for row in orderings("relu", 128) if row.model == "BatchNorm"}
    assert rates["maximum"].holds
    assert rates["maximum"].rate < 1.01 * 256


def test_impossible_arguments_are_refused():
    with pytest.raises(UsageError, match="norm=0"):
        effective_learning_rate(WeightNorm(unit="relu", learning_rate=1.0), norm=0)
    with pytest.raises(UsageError, match=r"norm=2.*SGD"):
        max_learning_rate(SGD(unit="relu", learning_rate=1.0), norm=2)
    with pytest.raises(UsageError, match="SGD has no frozen norm"):
        stationary_state(SGD(unit="relu", learning_rate=1.0))
