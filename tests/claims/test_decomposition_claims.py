"""Claims D1 to D4, judged on results made to agree with the claim or with the law."""

import pytest
from toy_claims import made_up

from bnlens.claims import _decomposition as common
from bnlens.claims import d1_gap_value, d2_gap_scaling, d3_gamma_shrink, d4_gap_shares, d6_own_noise, d7_correlation
from bnlens.experiments.neuron_pair import simulate_pair_gap
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
    assert found.parts == {
        "at the optimum, without skew": "holds",
        "at the optimum, with skew": "does not hold here",
        "away from the optimum": "does not hold here",
    }
    # A.4 says .3325 for the linear unit under the paper's noise, .4200 with the batch's own statistics.
    linear = next(row for row in found.rows if (row["unit"], row["at"]) == ("linear", "away from it"))
    assert (linear["M × gap, paper's noise"], linear["M × gap"]) == pytest.approx((0.3325, 0.42), abs=1e-4)
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


def test_d6_judges_two_readings_of_the_information():
    # the expansion under the paper's noise; the two readings agree at the optimum, where it is the two terms
    found = judged(d6_own_noise.CLAIM, own_law)
    assert found.verdict == "holds approximately"
    assert list(found.parts.values()) == ["holds", "holds", "does not hold here", "does not hold here"]
    assert (found.measured, found.predicted) == pytest.approx((0.4823, 0.5583), abs=1e-4)
    by_hessian = judged(d6_own_noise.CLAIM, two_terms)
    assert list(by_hessian.parts.values()) == ["holds", "holds", "holds", "does not hold here"]
    assert judged(d6_own_noise.CLAIM, lambda *law: 1.2 * two_terms(*law)).verdict == "does not hold here"


def judged_pairs(value):
    """The finding on pairs whose gap is value(noise, r, product of signs) above 1/M."""

    def gaps(config):
        first, second = config["signs"]
        found = {f"{noise} alone": {"gap": 1 / 64, "stderr": 1e-6} for noise in ("mean", "std")}
        for noise in ("mean", "std"):
            gap = (1 + value(noise, config["correlation"], first * second)) / 64
            found[noise] = {"gap": gap, "stderr": 1e-6}
        return found

    return d7_correlation.CLAIM.judge(made_up(d7_correlation.CLAIM, gaps))


def test_d7_judges_where_correlation_is_penalised():
    assert agrees(judged_pairs(lambda noise, r, product: abs(r)))
    found = judged_pairs(lambda noise, r, product: product * (r if noise == "mean" else r**3 / 2))
    assert found.verdict == "does not hold here"
    assert list(found.parts.values()) == ["holds", "does not hold here"]
    assert (found.measured, found.predicted) == pytest.approx((0.256, 0.256))
    assert "within 0.00/M" in found.summary


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_pair_of_neurons_has_the_gap_of_the_expansion(sign):
    # M gap = (1/2) s C s + (1/4) s C^3 s (entries cubed), exact for the mean, to order 1/M for the rest
    found = simulate_pair_gap(correlation=0.6, signs=[1.0, sign], batch_size=32, batches=20_000, seed=1)
    mean, std = 1 + 0.6 * sign, (1 + 0.216 * sign) / 2
    for noise, expected, rest in (
        ("mean", mean, 0.0),
        ("std", std, 0.1),
        ("mean alone", 1.0, 0.0),
        ("std alone", 0.5, 0.1),
    ):
        stderr = 32 * found[noise]["stderr"]
        assert 32 * found[noise]["gap"] == pytest.approx(expected, abs=4 * stderr + rest * expected)
