"""Claims G1 to G4, judged on results made to agree with the claim and against it."""

import numpy as np
import pytest
from toy_claims import made_up

from bnlens.claims import _generalization as common
from bnlens.claims import g1_ridge_curves, g2_gamma_decay_ridge, g3_batch_norm_peak, g4_relu_replica
from bnlens.theory import mean_std


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
            row = {"least squares": plain, "ridge": ridge, "batch norm": choose(plain, ridge), "stderr": 1e-3}
            row |= {"cosine with least squares": 0.995, "cosine with ridge": 0.9, "norm ratio": factor}
            rows.append(row)
        return {"loads": rows, "dimension": config["dimension"]}

    return g3_batch_norm_peak.CLAIM.judge(made_up(g3_batch_norm_peak.CLAIM, compared))


def test_g3_judges_batch_norm_against_ridge():
    agreed = judged_batch_norm(lambda plain, ridge: ridge)
    assert (agreed.verdict, agreed.corrects_paper) == ("holds", None)
    found = judged_batch_norm(lambda plain, ridge: plain)
    assert found.verdict == "does not hold here"
    told = "at α = 1 its error is 30 at M = 8 and 30 at M = 32 where the ridge of gamma decay has 0.20"
    assert told in found.corrects_paper
    assert "0.9950 to 0.9950" in found.summary
    assert "within 0.0%" in found.summary
    assert found.ratio == pytest.approx(0.2 / 0.3)
