"""The angle of a step in balance, and its judge."""

import math

import pytest

from bnlens.claims import Results, get_claims
from bnlens.experiments.equilibrium import measure_step_angle

(N5,) = get_claims(["N5"])


def test_weights_turn_by_the_angle_of_the_balance():
    setting = {"learning_rate": 0.1, "weight_decay": 0.01, "momentum": 0.5}
    found = measure_step_angle(**setting, settle=1500, steps=500, seed=1)
    expected = math.sqrt(2 * 0.1 * 0.01 / 1.5)
    assert found["angle"] == pytest.approx(expected, rel=0.02)
    assert found["stderr"] < 0.01 * expected


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.01, "holds"), (0.95, "holds approximately"), (1.5, "does not hold here")]
)
def test_n5_judges_the_angle(factor, verdict):
    def measured(config):
        angle = math.sqrt(2 * config["learning_rate"] * config["weight_decay"] / (1 + config["momentum"]))
        return {"angle": factor * angle, "stderr": 1e-6}

    finding = N5.judge(Results([(job.config, measured(job.config)) for job in N5.plan()]))
    assert finding.verdict == verdict
    assert finding.predicted == pytest.approx(0.0447214, abs=1e-7)
