"""Claims G1 to G4: judged on results made to agree with the claim and against it, and on small simulations."""

import json
import math

import numpy as np
import pytest

from bnlens.claims import (
    _generalization as common,
)
from bnlens.claims import g1_ridge_curves, g2_gamma_decay_ridge, g3_batch_norm_peak, g4_relu_replica
from bnlens.theory import mean_std
from bnlens.theory.generalization import BatchNorm, LeastSquares, ReluRidge, Ridge, WeightNormDecay

CLAIMS = [g1_ridge_curves.CLAIM, g2_gamma_decay_ridge.CLAIM, g3_batch_norm_peak.CLAIM, g4_relu_replica.CLAIM]


def by_id(claim):
    return claim.id


def curves(claim, factor=1.0):
    """Results whose errors are the theory's times a factor, with standard errors of 0.1%."""
    made = {}
    for job in claim.plan("quick", None):
        errors = factor * np.array(common.theory_curve(job.config["estimator"], job.config["alpha"]))
        made[job.name] = {"error": errors.tolist(), "stderr": (1e-3 * errors).tolist()}
    return made


@pytest.mark.parametrize("claim", CLAIMS, ids=by_id)
def test_plan_is_data_and_full_is_the_same_with_more_runs(claim):
    quick, full = claim.plan("quick", None), claim.plan("full", None)
    assert len({job.name for job in quick}) == len(quick)
    for small, large in zip(quick, full, strict=True):
        assert json.loads(json.dumps(dict(small.config))) == small.config
        assert large.config["runs"] > small.config["runs"]
        assert large.config["dimension"] > small.config["dimension"]
        assert {**large.config, "runs": 0, "dimension": 0} == {**small.config, "runs": 0, "dimension": 0}
        assert large.cost > small.cost
    assert claim.core


@pytest.mark.parametrize("claim", CLAIMS, ids=by_id)
def test_small_simulation_gives_finite_numbers_and_a_figure(claim):
    made = {}
    for job in claim.plan("quick", None):
        result = job.function(**{**job.config, "dimension": 64, "runs": 4})
        made[job.name] = json.loads(json.dumps(result, allow_nan=False))
    finding = claim.judge(made)
    assert all(math.isfinite(v) for v in (finding.measured, finding.predicted, finding.stderr, finding.ratio))
    assert 0 < finding.stderr < finding.measured
    assert all(math.isfinite(v) for row in finding.rows for v in row.values() if isinstance(v, float))
    assert len(finding.rows) > len(made)
    figure = claim.figure(made)
    assert figure.layout.xaxis.title.text == "load α = P/N"
    measured = [trace for trace in figure.data if trace.error_y.array is not None]
    assert measured
    for trace in figure.data:
        assert trace.name
        assert len(trace.x) == len(trace.y)
        assert all(value is None or math.isfinite(value) for value in trace.y)


def test_estimators_are_made_from_json():
    assert common.make_estimator("least squares", dimension=9) == LeastSquares(0.25, dimension=9)
    assert common.make_estimator("ridge", decay=0.1, dimension=9) == Ridge(0.1, 0.25)
    assert common.make_estimator("gamma decay", zeta=0.1) == WeightNormDecay(0.1, 0.25)
    assert common.make_estimator("batch norm", batch_size=8) == BatchNorm(8, 0.25)
    assert common.make_estimator("relu", decay=0.1, teacher="linear") == ReluRidge(0.1, 0.25, "linear")


@pytest.mark.parametrize("claim", [g1_ridge_curves.CLAIM, g4_relu_replica.CLAIM], ids=by_id)
@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.02, "holds"), (1.1, "holds approximately"), (1.4, "does not hold here")]
)
def test_g1_and_g4_judge_the_curves(claim, factor, verdict):
    finding = claim.judge(curves(claim, factor))
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx(factor * finding.predicted)
    assert finding.corrects_paper is None


def test_g1_counts_what_lies_inside_the_errors():
    summary = g1_ridge_curves.CLAIM.judge(curves(g1_ridge_curves.CLAIM)).summary
    assert summary.startswith("17 of 17 simulated errors")


@pytest.mark.parametrize(
    ("distance", "verdict"), [(1e-8, "holds"), (1e-3, "holds approximately"), (0.1, "does not hold here")]
)
def test_g2_judges_the_distance_to_ridge(distance, verdict):
    made = {
        job.name: {"distance": [1e-9, distance, 1e-9, 1e-9], "error": [0.2] * 4, "stderr": [0.01] * 4}
        for job in g2_gamma_decay_ridge.CLAIM.plan("quick", None)
    }
    finding = g2_gamma_decay_ridge.CLAIM.judge(made)
    assert finding.verdict == verdict
    # Ridge at lambda = 2 alpha zeta = 0.2, from the root of lambda m^2 + (lambda + alpha - 1) m = 1, theory sheet C.2.
    m = max(np.roots([0.2, 0.2, -1]).real)
    slope = -(m**2 + m) / (0.4 * m + 0.2)
    assert finding.predicted == pytest.approx((-(0.2**2) * slope + 0.25 * (m + 0.2 * slope)) / 2)


def batch_norm_results(choose):
    made = {}
    for job in g3_batch_norm_peak.CLAIM.plan("quick", None):
        rows = []
        for alpha in job.config["alpha"]:
            size = job.config["batch_size"]
            factor = mean_std(size) / mean_std(round(alpha * job.config["dimension"]))
            plain, ridge = 30.0 if alpha == 1 else 0.3 / alpha, 0.2 / alpha
            row = {"least squares": plain, "ridge": ridge, "batch norm": choose(plain, ridge), "stderr": 1e-3}
            row |= {"cosine with least squares": 0.995, "cosine with ridge": 0.9, "norm ratio": factor}
            rows.append(row)
        made[job.name] = {"loads": rows, "dimension": job.config["dimension"]}
    return made


def test_g3_judges_batch_norm_against_ridge():
    agreed = g3_batch_norm_peak.CLAIM.judge(batch_norm_results(lambda plain, ridge: ridge))
    assert (agreed.verdict, agreed.corrects_paper) == ("holds", None)
    found = g3_batch_norm_peak.CLAIM.judge(batch_norm_results(lambda plain, ridge: plain))
    assert found.verdict == "does not hold here"
    assert "at α = 1 its error is 30 at M = 8 and 30 at M = 32 where the ridge of gamma decay has 0.20" in (
        found.corrects_paper
    )
    assert "0.9950 to 0.9950" in found.summary
    assert "within 0.0%" in found.summary
    assert found.ratio == pytest.approx(0.2 / 0.3)


def test_g3_compares_on_the_same_training_sets():
    job = g3_batch_norm_peak.CLAIM.plan("quick", None)[1]
    result = job.function(**{**job.config, "alpha": [0.5, 1.5], "dimension": 80, "runs": 4})
    below, above = result["loads"]
    assert below["cosine with least squares"] == pytest.approx(1, abs=1e-8)
    assert above["cosine with least squares"] > max(0.99, above["cosine with ridge"])
    # Errors carry that of the intercept, the same for both up to the shrink: far nearer to least squares than to ridge.
    assert abs(above["batch norm"] - above["least squares"]) < abs(above["batch norm"] - above["ridge"])
