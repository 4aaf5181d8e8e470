"""Claims G1 to G4, judged on results made to agree with the claim and against it."""

import numpy as np
import pytest
from toy_claims import made_up

from bnlens.claims import _generalization as common
from bnlens.claims import (
    g1_ridge_curves,
    g2_gamma_decay_ridge,
    g3a_trained_students,
    g3b_stationary_point,
    g4_relu_replica,
)
from bnlens.theory import mean_std
from bnlens.theory.generalization import gamma_decay_to_ridge


def judged(claim, factor=1.0):
    """The finding on errors that are the theory's times a factor, with standard errors of 0.1%."""

    def errors(config):
        found = factor * np.array(common.theory_curve(config["estimator"], config["alpha"]))
        return {"error": found.tolist(), "stderr": (1e-3 * found).tolist()}

    return claim.judge(made_up(claim, errors))


@pytest.mark.parametrize("claim", [g1_ridge_curves.CLAIM, g4_relu_replica.CLAIM], ids=["G1", "G4"])
@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.02, "holds"), (1.1, "holds approximately"), (1.4, "does not hold here")]
)
def test_g1_and_g4_judge_the_curves(claim, factor, verdict):
    finding = judged(claim, factor)
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx(factor * finding.predicted)
    assert finding.corrects_paper is None


def test_g1_counts_what_lies_inside_the_errors():
    assert judged(g1_ridge_curves.CLAIM).summary.startswith("17 of 17 simulated errors")


@pytest.mark.parametrize(
    ("distance", "verdict"), [(1e-8, "holds"), (1e-3, "holds approximately"), (0.1, "does not hold here")]
)
def test_g2_judges_the_distance_to_ridge(distance, verdict):
    result = {"distance": [1e-9, distance, 1e-9, 1e-9], "error": [0.2] * 4, "stderr": [0.01] * 4}
    finding = g2_gamma_decay_ridge.CLAIM.judge(made_up(g2_gamma_decay_ridge.CLAIM, lambda config: result))
    assert finding.verdict == verdict
    # Ridge at lambda = 2 alpha zeta = 0.2, from the root of lambda m^2 + (lambda + alpha - 1) m = 1, theory sheet C.2.
    m = max(np.roots([0.2, 0.2, -1]).real)
    slope = -(m**2 + m) / (0.4 * m + 0.2)
    assert finding.predicted == pytest.approx((-(0.2**2) * slope + 0.25 * (m + 0.2 * slope)) / 2)


def judged_batch_norm(choose):
    def compared(config):
        rows = []
        for alpha in config["alpha"]:
            factor = mean_std(config["batch_size"]) / mean_std(round(alpha * config["dimension"]))
            plain, ridge = 30.0 if alpha == 1 else 0.3 / alpha, 0.2 / alpha
            row = {
                "least squares": plain,
                "shrunken least squares": factor * plain,
                "ridge": ridge,
                "batch norm": choose(factor * plain, ridge),
            }
            row |= {"stderr": 1e-3}
            row |= {"cosine with least squares": 0.995, "cosine with ridge": 0.9, "norm ratio": factor}
            rows.append(row)
        return {"loads": rows, "dimension": config["dimension"]}

    return g3b_stationary_point.CLAIM.judge(made_up(g3b_stationary_point.CLAIM, compared))


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "holds"), (0.9, "holds approximately"), (1.5, "does not hold here")]
)
def test_g3b_judges_the_stationary_point(factor, verdict):
    found = judged_batch_norm(lambda shrunken, ridge: factor * shrunken)
    assert (found.verdict, found.corrects_paper) == (verdict, None)
    assert found.ratio == pytest.approx(1 / factor)
    assert "0.9950 to 0.9950" in found.summary
    assert "within 0.0%" in found.summary
    assert judged_batch_norm(lambda shrunken, ridge: ridge).verdict == "does not hold here"


def judged_students(of, peak, spread=0.5):
    """The finding on students whose errors are ``of`` times those of gamma decay, by kind, with a peak of SGD and BN."""

    def trained(config):
        kind, zeta = config["kind"], config["parameters"].get("zeta")
        errors = []
        for load in config["alpha"]:
            (error,) = common.theory_curve(g3a_trained_students._CURVES["decay"], [load])
            error *= 0.5 if zeta == 0.125 else of.get(kind, 1.0)
            error += peak.get(kind, 0.0) if load == 1 else 0.0
            errors.append([[error * (1 + spread * (run % 2 - 0.5)) for run in range(16)]] * len(config["epochs"]))
        return {"errors": errors}

    return g3a_trained_students.CLAIM.judge(made_up(g3a_trained_students.CLAIM, trained))


NEAR, BELOW, PEAK = "near gamma decay", "below SGD", "without the peak of SGD"


@pytest.mark.parametrize(
    ("of", "peak", "verdict", "parts"),
    [
        ({"SGD": 1.1}, {"SGD": 1.0}, "holds", ("holds", "holds", "holds")),
        ({"SGD": 1.1}, {}, "holds", ("holds", "holds", "premise not met")),
        ({"SGD": 1.1}, {"SGD": 9.0, "BatchNorm": 1.0}, "does not hold here", (None, "holds", "does not hold here")),
        ({"SGD": 1.4, "BatchNorm": 1.2}, {}, "holds approximately", ("holds", "holds", None)),
        ({"BatchNorm": 1.05}, {}, "does not hold here", ("holds", "does not hold here", None)),
        ({"SGD": 1.7, "BatchNorm": 1.6}, {}, "does not hold here", ("does not hold here", "holds", None)),
        # below SGD but at a load of 1, where it is above by less than a tenth
        ({"SGD": 1.05}, {"BatchNorm": 0.04}, "holds approximately", ("holds", "holds approximately", None)),
    ],
)
def test_g3a_judges_its_parts(of, peak, verdict, parts):
    found = judged_students(of, peak)
    assert found.verdict == verdict
    for name, expected in zip((NEAR, BELOW, PEAK), parts, strict=True):
        assert expected in (None, found.parts[f"linear, {name}"])
    assert g3a_trained_students.CLAIM.premise == "plain SGD trained as long has no peak"


def test_the_strength_of_gamma_decay_is_in_the_papers_units():
    # its loss has no factor 1/2, so that zeta = 1/(2M) is lambda = alpha/(2M) with ours
    zeta = g3a_trained_students._CURVES["decay"]["zeta"]
    assert gamma_decay_to_ridge(zeta, 1.5) == pytest.approx(1.5 / 64)
