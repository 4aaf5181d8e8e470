"""Claims D1 to D4, judged on results made to agree with the claim or with the law."""

import pytest
from toy_claims import made_up

from bnlens.claims import _decomposition as common
from bnlens.claims import d1_gap_value, d2_gap_scaling, d3_gamma_shrink, d4_gap_shares
from bnlens.experiments.unit import make_unit
from bnlens.theory import gamma_shrink


def case_of(config):
    return common.Case(config["unit"], config["distribution"], config.get("at_optimum", True))


def judged(claim, value):
    """The finding on gaps with a relative error of 1e-4, where M * gap is value(law, statistics, noise, M)."""

    def gaps(config):
        law, statistics = case_of(config).law(), config.get("statistics", "own")
        found = {}
        for noise in config.get("noises", ["both"]):
            for size in config["batch_sizes"]:
                gap = value(law, statistics, noise, size) / size
                found[f"{noise}-M{size}"] = {"gap": gap, "stderr": 1e-4 * abs(gap) + 1e-9}
        return found

    return claim.judge(made_up(claim, gaps))


def agrees(finding):
    return (finding.verdict, finding.corrects_paper) == ("holds", None)


def judged_shrink(choose):
    def shrink(config):
        law = gamma_shrink(make_unit(config["unit"], True), config["distribution"], beta=config["beta"])
        return {"shrink": choose(law), "stderr": 1e-3, "optimum": law.gamma}

    return d3_gamma_shrink.CLAIM.judge(made_up(d3_gamma_shrink.CLAIM, shrink))


def two_terms(law, statistics, noise, size):
    return law.two_term if noise == "both" else getattr(law.two_term_shares, noise)


def own_law(law, statistics, noise, size):
    return law.coefficient(statistics) if noise == "both" else getattr(law.shares(statistics), noise)


def test_d1_judges_the_two_term_value():
    assert agrees(judged(d1_gap_value.CLAIM, two_terms))
    found = judged(d1_gap_value.CLAIM, own_law)
    assert found.verdict == "does not hold here"
    assert "own-batch law" in found.corrects_paper
    # Theory sheet A.4: the paper's unit, Gaussian.
    assert (found.measured, found.predicted) == pytest.approx((0.6776, 0.5583), abs=1e-4)


@pytest.mark.parametrize(
    ("power", "verdict"), [(1.0, "holds"), (1.1, "holds approximately"), (0.5, "does not hold here")]
)
def test_d2_judges_the_slope(power, verdict):
    finding = judged(d2_gap_scaling.CLAIM, lambda law, statistics, noise, size: size ** (1 - power))
    assert finding.verdict == verdict
    assert finding.measured == pytest.approx(-power)
    assert finding.predicted == -1


def test_d3_judges_the_shrink():
    assert agrees(judged_shrink(lambda law: law.decay))
    found = judged_shrink(lambda law: law.own)
    assert found.verdict == "does not hold here"
    assert "2.00 to 2.00 times" in found.corrects_paper
    assert found.ratio == pytest.approx(2)


def test_d4_judges_the_shares():
    assert agrees(judged(d4_gap_shares.CLAIM, two_terms))
    found = judged(d4_gap_shares.CLAIM, own_law)
    assert found.verdict == "does not hold here"
    assert found.predicted == pytest.approx(common.PAPER_CASE.law().two_term_shares.mean)
    assert "law by up to 0%" in found.corrects_paper
