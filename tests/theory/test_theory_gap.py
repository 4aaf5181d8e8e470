"""The expansion of the gap against the table of theory sheet A.4, exact cases and finite differences of the loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import UsageError
from bnlens.theory import BatchNoise, GapLaw, Population, gap_law, get_distribution, get_unit, mean_std
from bnlens.theory.gap import linear_gamma, linear_gap
from theory_points import POINTS

# unit: own batch, fresh batch, two-term for each distribution, as printed in theory sheet A.4.
NAMES = ["gaussian", "laplace", "exponential"]
TABLE = {
    "linear": [(0.4200, 0.2800, 0.3675), (0.6300, 0.3850, 0.5512), (0.8400, 0.6300, 0.7350)],
    "logistic": [(0.2500, 0.1743, 0.2498), (0.2612, 0.2010, 0.3142), (0.2162, 0.1525, 0.3992)],
    "relu": [(0.1717, 0.0947, 0.1503), (0.2396, 0.1106, 0.2164), (0.6912, 0.3520, 0.4198)],
    "softplus_glm": [(0.6776, 0.3683, 0.5583), (1.0283, 0.4654, 0.8333), (2.4310, 0.8548, 1.4589)],
    "poisson": [(0.3931, 0.2392, 0.3527), (0.4765, 0.2905, 0.4772), (0.7030, 0.3666, 0.6815)],
}
GAUSS_NEWTON = {"gaussian": 0.1837, "laplace": 0.2756, "exponential": 0.4506}


def law_at(unit: str, distribution: str) -> GapLaw:
    gamma, beta = POINTS[unit]
    return gap_law(unit, distribution, gamma=gamma, beta=beta)


@pytest.mark.parametrize("unit", TABLE)
def test_table_of_the_sheet(unit):
    laws = [law_at(unit, distribution) for distribution in NAMES]
    found = [(law.coefficient("own"), law.coefficient("fresh"), law.two_term) for law in laws]
    np.testing.assert_allclose(found, TABLE[unit], atol=6e-5)


@pytest.mark.parametrize("distribution", NAMES)
def test_gauss_newton_drops_the_kink(distribution):
    law = gap_law("relu", distribution, gamma=0.7, hessian="gauss-newton")
    assert law.two_term == pytest.approx(GAUSS_NEWTON[distribution], abs=6e-5)


@given(
    unit=st.sampled_from(list(POINTS)),
    distribution=st.sampled_from(NAMES),
    gamma=st.floats(0.2, 2.0),
    beta=st.floats(-0.9, 1.0),
)
def test_gradients_and_hessians_differentiate_the_expected_risk(unit, distribution, gamma, beta):
    law, x = gap_law(unit, distribution, gamma=gamma, beta=beta), get_distribution(distribution)
    h = 1e-3

    def loss(i: int, j: int) -> float:
        a, b = gamma + i * h, beta + j * h
        breaks = [(kink.output - b) / a for kink in get_unit(unit).kinks]
        return x.expectation(lambda nodes: get_unit(unit).risk(a * nodes + b, nodes), breaks)

    close = {"rel": 1e-4, "abs": 1e-4}
    assert (loss(1, 0) - loss(-1, 0)) / (2 * h) == pytest.approx(law.G_g, **close)
    assert (loss(0, 1) - loss(0, -1)) / (2 * h) == pytest.approx(law.G_b, **close)
    break_ = {"laplace": 0.0, "exponential": -1.0}.get(distribution, np.inf)
    if unit == "relu" and abs(-beta / gamma - break_) < 0.05:
        return  # the density itself is not smooth at the kink there
    assert (loss(1, 0) - 2 * loss(0, 0) + loss(-1, 0)) / h**2 == pytest.approx(law.H_gg, **close)
    assert (loss(0, 1) - 2 * loss(0, 0) + loss(0, -1)) / h**2 == pytest.approx(law.H_bb, **close)
    mixed = (loss(1, 1) - loss(1, -1) - loss(-1, 1) + loss(-1, -1)) / (4 * h**2)
    assert mixed == pytest.approx(law.H_gb, **close)


@pytest.mark.parametrize("distribution", NAMES)
def test_linear_law_is_the_expansion_of_the_exact_identity(distribution):
    law = law_at("linear", distribution)
    size = 1e6
    noise = BatchNoise(size, law.skewness, law.excess_kurtosis)
    assert law.coefficient("own") == pytest.approx(size * linear_gap(0.7, 0.8, noise.mean_std), rel=1e-9)
    assert law.coefficient("own", bessel=True) - law.coefficient("own") == pytest.approx(-0.35 * law.G_g)


def test_exact_linear_gamma():
    np.testing.assert_allclose(linear_gamma(0.8, mean_std([8, 32])), [0.8 * 0.90270, 0.8 * 0.97635], atol=1e-5)
    # gamma^2/2 - gamma R + gap is least at gamma_BN.
    gamma = np.linspace(0.6, 0.8, 20_001)
    loss = gamma**2 / 2 - 0.8 * gamma + linear_gap(gamma, 0.8, mean_std(8))
    assert gamma[loss.argmin()] == pytest.approx(linear_gamma(0.8, mean_std(8)), abs=2e-5)


def test_laws_of_the_sheet_from_its_moments():
    # Moments chosen unequal so that every term of theory sheet A.2 shows.
    law = GapLaw(2.0, 0.0, skewness=0.5, excess_kurtosis=1.0, G_g=0.1, G_b=0.2, T3=0.3, H_gg=0.4, H_bb=0.5, H_gb=0.6)
    two_term = 4 * (3 / 8 * 0.4 + 0.5 / 2)
    skew = 4 * 0.5 / 2 * 0.6
    assert law.two_term == pytest.approx(two_term)
    assert law.zeta(64) * 64 * 4 == pytest.approx(two_term)
    assert vars(law.two_term_shares) == pytest.approx({"mean": 4 * 0.5 / 2, "std": 4 * 3 / 8 * 0.4, "cross": 0.0})
    own_std = 4 * 3 / 8 * 0.4 + 2 * ((1 + 9 / 8) * 0.1 - 0.3 / 2)
    assert vars(law.shares()) == pytest.approx({"mean": 1 - 2 * 0.1, "std": own_std, "cross": 2 * 0.25 * (1.2 + 0.2)})
    own = two_term + skew + 2 * (9 / 8 * 0.1 + 0.25 * 0.2 - 0.15)
    fresh = two_term + skew + 2 * ((0.5 + 9 / 8) * 0.1 + 0.25 * 0.2)
    for statistics, expected in (("own", own), ("fresh", fresh)):
        assert law.coefficient(statistics) == pytest.approx(expected)
        assert law.coefficient(statistics, bessel=True) == pytest.approx(expected - 0.1)
    assert law.coefficient("paper") == pytest.approx(two_term + 2 * 3 / 4 * 0.1)
    assert law.coefficient("fresh") - law.coefficient("own") == pytest.approx(2 / 2 * (0.1 + 0.3))


@given(size=st.integers(2, 512))
def test_gap_scales_with_the_noise(size):
    law = law_at("poisson", "laplace")
    assert law.gap(size) * size == pytest.approx(law.coefficient())
    assert law.gap(size, "fresh", bessel=True) * size == pytest.approx(law.coefficient("fresh", bessel=True))
    assert law.gap(size, population=512) == pytest.approx(law.gap(size) * (512 - size) / 511)
    assert law.gap(size, population=512, replacement=True) == law.gap(size)


def test_gap_is_vectorised_over_batch_sizes_and_nothing_for_the_full_batch():
    law = gap_law("logistic", Population(np.random.default_rng(0).standard_normal(100)), gamma=1.5, beta=0.3)
    np.testing.assert_allclose(law.gap([8, 16]), law.coefficient() / np.array([8, 16]))
    assert isinstance(law.gap(8), float)
    assert law.gap(100, population=100) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gap_law("relu", "gaussian", gamma=0.0), "gamma=0"),
        (lambda: gap_law("linear", "gaussian", gamma=1.0, hessian="fisher"), "fisher.*exact"),
        (lambda: gap_law("relu", Population([0.0, 1.0, 3.0]), gamma=1.0), "gauss-newton"),
        (lambda: law_at("linear", "gaussian").coefficient("running"), "running.*own"),
        (lambda: law_at("linear", "gaussian").gap(1), "at least 2"),
        (lambda: law_at("linear", "gaussian").zeta(1), "at least 2"),
        (lambda: law_at("linear", "gaussian").gap(64, population=32), "exceeds the population"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
