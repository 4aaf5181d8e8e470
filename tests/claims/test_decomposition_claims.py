"""Claims D1 to D4: judged on results made to agree with the claim or with the law, and on a small simulation."""

import json
import math

import numpy as np
import pytest

from bnlens.claims import _decomposition as common
from bnlens.claims import d1_gap_value, d2_gap_scaling, d3_gamma_shrink, d4_gap_shares
from bnlens.theory import gamma_shrink

CLAIMS = [d1_gap_value.CLAIM, d2_gap_scaling.CLAIM, d3_gamma_shrink.CLAIM, d4_gap_shares.CLAIM]


def by_id(claim):
    return claim.id


def case_of(config):
    return common.Case(config["unit"], config["distribution"], config.get("at_optimum", True))


def results(claim, value):
    """Results with a relative error of 1e-4 whose M * gap is value(case, statistics, noise, M)."""
    made = {}
    for job in claim.plan("quick", None):
        config = job.config
        made[job.name] = {}
        for noise in config.get("noises", ["both"]):
            for size in config["batch_sizes"]:
                gap = value(case_of(config), config.get("statistics", "own"), noise, size) / size
                made[job.name][f"{noise}-M{size}"] = {"gap": gap, "stderr": 1e-4 * abs(gap) + 1e-9}
    return made


def shrinks(choose):
    made = {}
    for job in d3_gamma_shrink.CLAIM.plan("quick", None):
        case = case_of(job.config)
        law = gamma_shrink(common.make_unit(case.unit, True), case.distribution, beta=case.point[1])
        made[job.name] = {"shrink": choose(law), "stderr": 1e-3, "optimum": law.gamma}
    return made


def two_terms(case, statistics, noise, size):
    law = case.law()
    return law.two_term if noise == "both" else getattr(law.two_term_shares, noise)


def law_values(case, statistics, noise, size):
    law = case.law()
    return law.coefficient(statistics) if noise == "both" else getattr(law.shares(statistics), noise)


@pytest.mark.parametrize("claim", CLAIMS, ids=by_id)
def test_plan_is_data_and_full_is_the_same_with_more_samples(claim):
    quick, full = claim.plan("quick", None), claim.plan("full", None)
    assert len({job.name for job in quick}) == len(quick)
    assert len({job.config["seed"] for job in quick}) == len(quick)
    for small, large in zip(quick, full, strict=True):
        assert json.loads(json.dumps(dict(small.config))) == small.config
        assert large.config["samples"] > small.config["samples"]
        assert {**large.config, "samples": 0} == {**small.config, "samples": 0}
    assert claim.core


@pytest.mark.parametrize("claim", CLAIMS, ids=by_id)
def test_small_simulation_gives_finite_numbers_and_a_figure(claim):
    made = {}
    for job in claim.plan("quick", None):
        made[job.name] = json.loads(json.dumps(job.function(**{**job.config, "samples": 26_000})))
    finding = claim.judge(made)
    assert all(math.isfinite(v) for v in (finding.measured, finding.predicted, finding.stderr, finding.ratio))
    assert 0 < finding.stderr < 0.2 * abs(finding.measured)
    assert all(math.isfinite(v) for row in finding.rows for v in row.values() if isinstance(v, float))
    assert len(finding.rows) >= len(made)
    figure = claim.figure(made)
    assert figure.layout.yaxis.title.text
    for trace in figure.data:
        assert trace.name
        assert len(trace.y) >= 4
        assert np.all(np.isfinite(trace.y))
    assert any(trace.error_y.array is not None for trace in figure.data)


def test_d1_judges_the_two_term_value():
    agreed = d1_gap_value.CLAIM.judge(results(d1_gap_value.CLAIM, two_terms))
    assert (agreed.verdict, agreed.corrects_paper) == ("holds", None)
    found = d1_gap_value.CLAIM.judge(results(d1_gap_value.CLAIM, law_values))
    assert found.verdict == "does not hold here"
    assert "own-batch law" in found.corrects_paper
    # Theory sheet A.4: the paper's unit, Gaussian.
    assert (found.measured, found.predicted) == pytest.approx((0.6776, 0.5583), abs=1e-4)


@pytest.mark.parametrize(
    ("power", "verdict"), [(1.0, "holds"), (1.1, "holds approximately"), (0.5, "does not hold here")]
)
def test_d2_judges_the_slope(power, verdict):
    made = results(d2_gap_scaling.CLAIM, lambda case, statistics, noise, size: size ** (1 - power))
    finding = d2_gap_scaling.CLAIM.judge(made)
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx(-power)
    assert finding.predicted == -1


def test_d3_judges_the_shrink():
    agreed = d3_gamma_shrink.CLAIM.judge(shrinks(lambda law: law.decay))
    assert (agreed.verdict, agreed.corrects_paper) == ("holds", None)
    found = d3_gamma_shrink.CLAIM.judge(shrinks(lambda law: law.own))
    assert found.verdict == "does not hold here"
    assert "2.00 to 2.00 times" in found.corrects_paper
    assert found.ratio == pytest.approx(2)


def test_d4_judges_the_shares():
    agreed = d4_gap_shares.CLAIM.judge(results(d4_gap_shares.CLAIM, two_terms))
    assert (agreed.verdict, agreed.corrects_paper) == ("holds", None)
    found = d4_gap_shares.CLAIM.judge(results(d4_gap_shares.CLAIM, law_values))
    assert found.verdict == "does not hold here"
    assert found.corrects_paper
    assert found.predicted == pytest.approx(common.PAPER_CASE.law().two_term_shares.mean)
    assert "law by up to 0%" in found.corrects_paper


def test_grade_forgives_two_standard_errors():
    assert common.grade([(0.04, 0.0), (-0.06, 0.006)]) == "holds"
    assert common.grade([(0.04, 0.0), (-0.07, 0.006)]) == "holds approximately"
    assert common.grade([(0.2, 0.02)]) == "does not hold here"
