"""Derivatives of the units against finite differences, expected losses against drawn targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from bnlens.errors import UsageError
from bnlens.theory import UNITS, get_unit, logistic, poisson, relu, softplus_glm

OUTPUTS = st.floats(-30, 30)
VALUES = st.floats(-5, 5)


@given(name=st.sampled_from(list(UNITS)), y=OUTPUTS, x=VALUES)
def test_slope_and_curvature_are_derivatives(name, y, x):
    unit = get_unit(name)
    h = 1e-4
    if any(abs(y - kink.output) < 2 * h for kink in unit.kinks):
        return
    at = np.array([y - h, y, y + h])
    risk, slope = unit.risk(at, np.full(3, x)), unit.slope(at, np.full(3, x))
    rounding = 1e-15 * (1 + np.abs(risk).max())
    assert (risk[2] - risk[0]) / (2 * h) == pytest.approx(slope[1], rel=1e-6, abs=1e-7 + rounding / h)
    curvature = unit.curvature(at, np.full(3, x))[1]
    assert (slope[2] - slope[0]) / (2 * h) == pytest.approx(curvature, rel=1e-6, abs=1e-7 + rounding / h)


@given(name=st.sampled_from(list(UNITS)), y=st.floats(-2000, 2000), x=VALUES)
def test_everything_is_finite_far_out(name, y, x):
    unit = get_unit(name)
    point = (np.array([y]), np.array([x]))
    assert np.all(np.isfinite([unit.risk(*point), unit.slope(*point), unit.curvature(*point)]))


@given(x=VALUES)
def test_kink_of_the_relu_unit_is_the_jump_of_its_slope(x):
    unit = relu(0.6)
    (kink,) = unit.kinks
    left, right = unit.slope(np.array([-1e-12, 1e-12]), np.array([x, x]))
    assert right - left == pytest.approx(float(kink.jump(np.array(x))), abs=1e-9)


@pytest.mark.parametrize("x", [-1.0, 0.3, 2.0])
def test_relu_teacher_averages_over_its_noise(x):
    unit, noise = relu(0.8), np.random.default_rng(0).standard_normal(400_000)
    targets = np.maximum(0.8 * x + 0.6 * noise, 0)
    losses = (1.7**2 - 2 * targets * 1.7) / 2
    expected = unit.risk(np.array([1.7]), np.array([x]))[0]
    assert abs(losses.mean() - expected) < 4 * losses.std() / np.sqrt(len(losses))


@pytest.mark.parametrize("y", [-50.0, -3.0, 0.0, 0.5, 60.0])
def test_softplus_glm_potential_is_the_integral_of_softplus(y):
    unit = softplus_glm()
    at = lambda value: unit.risk(np.array([value]), np.array([-1e6]))[0]  # noqa: E731  (target rate zero)
    expected, _ = quad(lambda u: np.logaddexp(0, u), 0.0, y, epsabs=1e-12)
    assert at(y) - at(0.0) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@given(x=VALUES, gamma=st.floats(0.2, 3), beta=st.floats(-1, 1))
def test_well_specified_units_are_stationary_given_x(x, gamma, beta):
    for unit in (logistic(gamma, beta), softplus_glm(gamma, beta), poisson(gamma, beta)):
        assert unit.slope(np.array([gamma * x + beta]), np.array([x]))[0] == pytest.approx(0, abs=1e-12)


def test_bad_units_are_refused():
    with pytest.raises(UsageError, match=r"probit.*linear, logistic"):
        get_unit("probit")
    with pytest.raises(UsageError, match=r"correlation=1\.2"):
        relu(1.2)
