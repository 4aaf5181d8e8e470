"""Estimators from JSON, and the comparison of batch norm with least squares and ridge."""

import pytest

from bnlens.experiments.generalization import compare_batch_norm, make_estimator
from bnlens.theory.generalization import BatchNorm, LeastSquares, ReluRidge, Ridge, WeightNormDecay


def test_estimators_are_made_from_json():
    assert make_estimator("least squares", dimension=9) == LeastSquares(0.25, dimension=9)
    assert make_estimator("ridge", decay=0.1, dimension=9) == Ridge(0.1, 0.25)
    assert make_estimator("gamma decay", zeta=0.1) == WeightNormDecay(0.1, 0.25)
    assert make_estimator("batch norm", batch_size=8) == BatchNorm(8, 0.25)
    assert make_estimator("relu", decay=0.1, teacher="linear") == ReluRidge(0.1, 0.25, "linear")


def test_batch_norm_is_compared_on_the_same_training_sets():
    result = compare_batch_norm(batch_size=32, alpha=[0.5, 1.5], dimension=80, runs=4, seed=420)
    below, above = result["loads"]
    assert below["cosine with least squares"] == pytest.approx(1, abs=1e-8)
    assert above["cosine with least squares"] > max(0.99, above["cosine with ridge"])
    # Errors carry that of the intercept, the same for both up to the shrink: far nearer to least squares than to ridge.
    assert abs(above["batch norm"] - above["least squares"]) < abs(above["batch norm"] - above["ridge"])
