"""Claims L1 to L4: judged on results made to agree with the claim or with the equations."""

import numpy as np
import pytest

from bnlens.claims import Results, get_claims
from bnlens.claims import _learning as common
from bnlens.experiments.dynamics import solve_effective_rates
from bnlens.theory.dynamics import COLUMNS
from bnlens.theory.learning_rate import max_learning_rate, stationary_state

L1, L2, L3A, L3B, L4 = CLAIMS = get_claims(["L1", "L2", "L3", "L4"])


def by_id(claim):
    return claim.id


def case_of(config):
    parameters, start = config["parameters"], config["start"]
    return common.Case(config["kind"], **parameters, **start, times=tuple(config["times"]))


def results(claim, change=lambda case, values, size: values):
    """Results with standard errors of 1e-4 that follow the equations, up to a change of the order parameters."""
    made = []
    for job in claim.plan():
        if "systems" in job.config:
            made.append((job.config, {"rates": [1.0, 0.9, 0.95] * (len(job.config["systems"]) // 3)}))
            continue
        case, size = case_of(job.config), job.config["size"]
        path = case.solve()
        values = change(case, {name: np.array(getattr(path, name)) for name in COLUMNS}, size)
        result = {name: value.tolist() for name, value in values.items()}
        result |= {f"{name}_stderr": [1e-4] * len(path.tau) for name in COLUMNS}
        made.append((job.config, {**result, "tau": path.tau.tolist(), "size": size}))
    return Results(made)


def with_finite_size(case, values, size):
    return {name: value + 1 / size for name, value in values.items()}


@pytest.mark.parametrize("claim", CLAIMS, ids=by_id)
def test_each_job_has_a_seed_of_its_own_and_all_end_in_a_minute(claim):
    jobs = claim.plan()
    simulated = [job for job in jobs if "seed" in job.config]
    assert len({job.config["seed"] for job in simulated}) == len(simulated) >= len(jobs) - 1
    assert sum(job.cost for job in jobs) < 60


def test_l1_judges_distance_and_its_order():
    agreed = L1.judge(results(L1, with_finite_size))
    assert agreed.verdict == "holds"
    assert "324 of 324" in agreed.summary
    assert len(agreed.rows) >= 12
    off = L1.judge(results(L1, lambda case, values, size: {k: v + 3 / size for k, v in values.items()}))
    assert off.verdict == "does not hold here"
    assert "0 of 324" in off.summary
    # Few points away, but a distance that does not fall
    lasting = L1.judge(results(L1, lambda case, values, size: {k: v + 0.004 for k, v in values.items()}))
    assert lasting.verdict == "holds approximately"
    assert "other than 1/N" in lasting.summary


def test_l1_can_tell_batch_norm_from_its_model():
    def model(case, values, size):
        if case.kind != "BatchNorm":
            return values
        path = case.as_gamma_decay().solve()
        return {name: np.array(getattr(path, name)) for name in COLUMNS}

    assert L1.judge(results(L1, model)).verdict == "does not hold here"


def test_l2_judges_whether_a_student_stays():
    def stay(case, values, size):
        return {**values, "R": np.ones_like(values["R"]), "gamma": np.full_like(values["R"], case.gamma)}

    claimed = L2.judge(results(L2, stay))
    assert (claimed.verdict, claimed.corrects_paper) == ("holds", None)
    found = L2.judge(results(L2))
    assert found.verdict == "holds approximately"
    assert list(found.parts.values()) == ["holds", "holds", "does not hold here", "holds"]
    assert "1 − R = O(ζ²)" in found.corrects_paper
    assert (found.measured, found.predicted) == (pytest.approx(1 - 1.52e-5, abs=1e-7), 1.0)
    for row in found.rows:
        assert row["R, simulated"] == pytest.approx(row["R, equations"], abs=2e-4)
        assert row["γ, simulated"] == pytest.approx(row["γ, equations"], abs=2e-4)


def test_l2_tells_a_loss_of_first_order():
    def turned(case, values, size):
        return {**values, "R": np.full_like(values["R"], 1 - 0.1 * case.parameters.get("zeta", 0.0))}

    found = L2.judge(results(L2, turned))
    assert found.verdict == "does not hold here"
    assert found.parts["to first order in ζ"] == "does not hold here"
    assert "is 1.00 ±" in found.summary


@pytest.mark.parametrize(
    ("maximum", "verdict"), [(17.0, "holds"), (16.05, "holds approximately"), (13.3, "does not hold here")]
)
@pytest.mark.parametrize(("claim", "kind"), [(L3A, "GammaDecay"), (L3B, "BatchNorm")], ids=["L3a", "L3b"])
def test_l3_judges_each_maximum(claim, kind, maximum, verdict):
    def change(case, values, size):
        # settled where the equations are at a rate that is as much slower as the maximum is larger
        largest = {kind: maximum, "WeightNorm": 16.0}[case.kind]
        rate = case.learning_rate * max_learning_rate(case.system()) / largest
        R = stationary_state(common.replace(case, learning_rate=rate).system()).R
        return {**values, "R": np.full(len(values["R"]), R)}

    finding = claim.judge(results(claim, change))
    assert [finding.parts[f"{unit} unit, M = 8"] for unit in ("linear", "ReLU")] == [verdict] * 2
    assert finding.measured == pytest.approx(maximum, rel=1e-4)
    assert finding.predicted == pytest.approx(16 + 2 * 3 / 32)
    if kind == "GammaDecay":
        assert finding.verdict == verdict


def test_l3_on_the_equations():
    # Theory sheet B.2 and B.3: eta_max for M = 8, 32, 128
    model, true = (claim.judge(results(claim)) for claim in (L3A, L3B))
    assert (model.verdict, model.corrects_paper) == ("holds", None)
    assert [row["η_max"] for row in model.rows] == pytest.approx([22.9, 70.2, 262.1] * 2, abs=0.06)
    assert true.verdict == "does not hold here"
    assert [row["η_max"] for row in true.rows[:3]] == pytest.approx([13.3, 61.9, 254.0], abs=0.06)
    assert [part for part, verdict in true.parts.items() if verdict == "holds"] == ["ReLU unit, M = 128"]
    assert "holds for ReLU unit, M = 128." in true.corrects_paper


def test_l4_judges_the_effective_rate():
    def raised(by):
        def change(case, values, size):
            plain = common.Case("WeightNorm", case.unit, batch_size=8, label_noise=0.25, times=case.times)
            path = plain.solve() if not case.freeze_norm else common.replace(plain, freeze_norm=True).solve()
            gamma = (path.effective_learning_rate + (by if case.kind == "BatchNorm" else 0)) * values["L"] ** 2
            return {**values, "gamma": gamma}

        return change

    assert L4.judge(results(L4, raised(0.1))).verdict == "holds"
    assert L4.judge(results(L4, raised(0.01))).verdict == "holds approximately"
    found = L4.judge(results(L4))
    assert found.verdict == "does not hold here"
    assert found.measured < found.predicted
    assert "because γ is smaller" in found.corrects_paper
    assert set(found.parts.values()) == {"does not hold here"}
    assert "of 108 settings" in found.summary
    assert "reaches the rate of WN in 0 and the decay model in 0; true BN has 0.95 to 0.95 times" in found.summary


def test_effective_rates_by_the_equations():
    # linear unit at frozen norm 1 without label noise, theory sheet B.2, B.3: eta gamma0 at R = 1
    start = {"gamma": 1.0, "R": 1.0, "L": 1.0, "freeze_norm": True}
    parameters = {"unit": "linear", "learning_rate": 0.5, "batch_size": 8}
    systems = [{"kind": kind, "parameters": parameters, "start": start} for kind in ("WeightNorm", "BatchNorm")]
    found = solve_effective_rates(systems=systems, tau=40.0)["rates"]
    assert found == pytest.approx([0.5, 0.5 * 0.90270], abs=1e-4)


def test_cases_say_their_system():
    case = common.Case("GammaDecay", "relu", learning_rate=2.0, batch_size=4, label_noise=0.1, zeta=0.05)
    assert case_of(case.job("quick", 1).config) == case
    state = stationary_state(case.system())
    assert 0 < state.R < 1
    assert case.columns["trained by"] == "WN + gamma decay"
