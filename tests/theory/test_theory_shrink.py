"""The shrink of gamma against the table of theory sheet A.5 and the slope formula of A.3 (c)."""

import pytest

from bnlens.errors import UsageError
from bnlens.theory import gamma_shrink, gap_law, get_distribution, optimal_gamma
from bnlens.theory.units import linear, logistic, poisson, relu, softplus_glm

# unit, beta: M * two-term gap at the optimum, own, fresh, decay; Gaussian pre-activations.
TABLE = [
    (linear(0.8), 0.0, 0.4800, 0.750, 2.750, 1.500),
    (relu(1.0), 0.0, 0.3750, 0.750, 2.750, 1.500),
    (softplus_glm(1.5), 0.0, 0.8438, 0.750, 2.750, 1.500),
    (logistic(2.0), 0.0, 0.3634, 1.920, 3.082, 3.002),
    (poisson(1.5, 0.5), 0.5, 0.4899, 0.968, 2.612, 1.920),
]


@pytest.mark.parametrize(("unit", "beta", "gap", "own", "fresh", "decay"), TABLE, ids=lambda v: getattr(v, "name", ""))
def test_table_of_the_sheet(unit, beta, gap, own, fresh, decay):
    shrink = gamma_shrink(unit, "gaussian", beta=beta)
    assert (shrink.own, shrink.fresh, shrink.decay) == pytest.approx((own, fresh, decay), abs=6e-4)
    law = gap_law(unit, "gaussian", gamma=shrink.gamma, beta=beta)
    assert law.coefficient("own") == pytest.approx(gap, abs=6e-5)
    assert law.coefficient("own") == pytest.approx(law.two_term)  # no skew, well specified: theory sheet A.3 (b)


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
@pytest.mark.parametrize("unit", [linear(0.8), logistic(2.0), softplus_glm(1.5)], ids=lambda unit: unit.name)
def test_slope_formula_without_skew(unit, name):
    distribution = get_distribution(name)
    shrink = gamma_shrink(unit, distribution)
    gamma, step = shrink.gamma, 1e-3
    two_term = [gap_law(unit, distribution, gamma=gamma + k * step).two_term for k in (-1, 1)]
    law = gap_law(unit, distribution, gamma=gamma)
    fourth = distribution.expectation(lambda x: unit.curvature(gamma * x, x) * x**4)
    slope = (two_term[1] - two_term[0]) / (2 * step)
    slope += gamma * (3 * law.kurtosis_factor / 8 * law.H_gg - fourth / 2)
    assert shrink.own == pytest.approx(slope / (law.H_gg * gamma), rel=1e-4)


@pytest.mark.parametrize(
    ("unit", "ratio"), [(linear(0.8), 0.5), (relu(1.0), 0.40), (softplus_glm(1.5), 0.34)], ids=lambda v: str(v)[:20]
)
def test_skew_changes_the_ratio_to_the_decay(unit, ratio):
    shrink = gamma_shrink(unit, "exponential")
    assert shrink.own / shrink.decay == pytest.approx(ratio, abs=0.005)


def test_linear_shrink_at_any_correlation():
    assert gamma_shrink(linear(0.3), "laplace").own == pytest.approx(3 * 3 / 8)
    assert optimal_gamma(linear(0.3), "exponential") == pytest.approx(0.3)


def test_missing_optimum_is_reported():
    with pytest.raises(UsageError, match=r"'linear' has no optimum.*widen"):
        optimal_gamma(linear(-0.5), "gaussian")
