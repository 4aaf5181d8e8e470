"""The average squared gradient of gamma, against sampled targets."""

import numpy as np
import pytest
from scipy.special import expit

from bnlens.errors import UsageError
from bnlens.theory import gap_law, squared_gradient


@pytest.mark.parametrize(("unit", "optimum"), [("logistic", 2.0), ("softplus_glm", 1.5)])
@pytest.mark.parametrize("distribution", ["gaussian", "laplace", "exponential"])
def test_it_is_the_hessian_where_the_model_is_the_teachers(unit, optimum, distribution):
    at = {"gamma": optimum, "beta": 0.0}
    assert squared_gradient(unit, distribution, **at) == pytest.approx(gap_law(unit, distribution, **at).H_gg, rel=1e-9)
    away = {"gamma": 0.6 * optimum, "beta": 0.3}
    elsewhere = squared_gradient(unit, distribution, **away) / gap_law(unit, distribution, **away).H_gg
    assert abs(elsewhere - 1) > 0.01


def test_it_is_the_mean_square_of_gradients():
    generator = np.random.default_rng(0)
    x = generator.standard_normal(1_000_000)
    t = generator.random(len(x)) < expit(2 * x)
    squares = ((expit(1.5 * x + 0.3) - t) * x) ** 2
    found = squared_gradient("logistic", "gaussian", gamma=1.5, beta=0.3)
    assert found == pytest.approx(squares.mean(), abs=4 * squares.std() / 1000)


def test_targets_without_a_known_variance():
    with pytest.raises(UsageError, match="choose one of linear, logistic, softplus_glm"):
        squared_gradient("relu", "gaussian", gamma=1.0)
