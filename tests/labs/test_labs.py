"""Every lab's numbers are the library's, those of its simulation and of the Python that it shows included."""

import csv
import io
import math
from typing import Any

import pytest

from bnlens.labs import LABS, Lab, Result, StateError
from bnlens.theory import dynamics, gap_law, learning_rate
from python_lines import run

BY_ID = {lab.id: lab for lab in LABS}
SYSTEMS = ("sgd", "weight-norm", "gamma-decay", "batch-norm")

# States whose Python runs in a test: closed forms at several, simulations as small as they come.
GAP = [{}, {"unit": "relu", "hessian": "gauss-newton", "gamma": 1.0 / 3}, {"unit": "softplus_glm", "beta": -0.5}]
DYNAMICS = [{"system": system, "unit": unit, "tau": 4.0} for system in SYSTEMS for unit in ("linear", "relu")]
RATES = [{}, {"unit": "relu", "norm": 1.5, "label_noise": 0.3, "rate": 30.0}]
CURVES = [{"estimator": name, "alpha": 1.7} for name in ("batch-norm", "gamma-decay", "ridge", "least-squares", "relu")]
SMALL = {"runs": 2, "seed": 3}
SIMULATED = [
    ("gap", {"unit": "relu", "samples": "50000", "seed": 3}),
    *(("dynamics", {"system": system, "size": "100", "tau": 1.0, **SMALL}) for system in SYSTEMS),
    ("rates", {"size": "50", "tau": 1.0, **SMALL}),
    *(("generalization", {**state, "dimension": "50", **SMALL}) for state in CURVES[:-1]),
]
STATES = [
    *((lab, state) for lab, states in zip(BY_ID, (GAP, DYNAMICS, RATES, CURVES), strict=True) for state in states),
    *((lab, {**state, "simulate": "yes"}) for lab, state in SIMULATED),
]


def compute(lab: str, **state: Any) -> Result:
    return BY_ID[lab].compute(BY_ID[lab].settle({**BY_ID[lab].defaults, **state}))


def headline(result: Result, name: str) -> float:
    return next(entry.value for entry in result.headlines if entry.id == name)


def column(result: Result, name: str) -> list[float]:
    return [row[name] for row in result.rows if name in row]


@pytest.mark.parametrize(("lab", "state"), STATES, ids=str)
def test_python_lines_give_the_numbers(lab: str, state: dict[str, Any]):
    result, simulates = compute(lab, **state), state.get("simulate") == "yes"
    values = run(result.code)
    assert len(values) == {"gap": 1, "dynamics": 1, "rates": 3, "generalization": 1}[lab] + simulates
    if lab == "gap":
        row = next(row for row in result.rows if row["M"] == 32)
        assert values[0] == pytest.approx((row["own"], row["fresh"], row["two_term"]), rel=1e-9)
        if simulates:
            simulated = (row["simulated own"], row["simulated own stderr"])
            assert (values[1].gap, values[1].stderr) == pytest.approx(simulated)
    elif lab == "dynamics":
        for frame, prefix in zip(values, ("", "simulated "), strict=False):
            for name in ("gamma", "R", "L", "generalization_error"):
                assert frame[name].tolist() == pytest.approx(column(result, prefix + name), abs=1e-6)
        curves = 3 if state["system"] == "sgd" else 4  # gamma of SGD is its norm
        model = 2 * (state["system"] == "batch-norm")
        assert len(result.figure.data) == curves + model + curves * simulates
    elif lab == "rates":
        shown = headline(result, "max-batch-norm"), headline(result, "effective-batch-norm")
        assert values[0] == pytest.approx(shown)
        largest = [headline(result, f"max-{name}") for name in ("batch-norm", "weight-norm", "gamma-decay")]
        grid = [row["batch_norm"] for row in result.rows if row["learning_rate"] not in largest]
        assert values[1] == pytest.approx(grid, abs=1e-9)
        assert values[-1].zeta == dynamics.paper_zeta(state.get("unit", "linear"), 8)
        if simulates:
            assert values[2].tolist() == pytest.approx(column(result, "simulated batch_norm")[:1], rel=1e-6)
    else:
        for frame, prefix in zip(values, ("", "simulated "), strict=False):
            assert frame["error"].iloc[-1] == pytest.approx(headline(result, "simulated" if prefix else "error"))
            at = next(row for row in result.rows if row["alpha"] == state["alpha"])
            assert frame["error"].iloc[-1] == pytest.approx(at[f"{prefix}error"])


def test_gap_has_the_laws():
    law = gap_law("relu", "laplace", gamma=0.9, beta=-0.3, hessian="gauss-newton")
    point = {"gamma": 0.9, "beta": -0.3, "hessian": "gauss-newton", "batch_size": 48}
    found = compute("gap", unit="relu", distribution="laplace", **point)
    assert headline(found, "own") == pytest.approx(law.gap(48, "own"), rel=1e-12)
    assert headline(found, "fresh") == pytest.approx(law.gap(48, "fresh"), rel=1e-12)
    assert headline(found, "two-term") == pytest.approx(law.two_term / 48, rel=1e-12)
    assert {row["M"] for row in found.rows} >= {4, 48, 1024}


@pytest.mark.parametrize(("lab", "first"), [("dynamics", "system"), ("generalization", "estimator")])
def test_gamma_decay_without_a_coefficient_is_the_papers(lab: str, first: str):
    given, left_out = (compute(lab, **{first: "gamma-decay"}, batch_size=8, zeta=zeta) for zeta in (3 / 32, None))
    assert given.rows == left_out.rows


def test_rates_end_where_the_sheet_says():
    found = compute("rates", batch_size=12, rate=3.0, norm=1.5)
    rates = {"unit": "linear", "learning_rate": 3.0, "batch_size": 12}
    for name, system in (("batch-norm", dynamics.BatchNorm(**rates)), ("weight-norm", dynamics.WeightNorm(**rates))):
        largest = learning_rate.max_learning_rate(system, norm=1.5)
        assert headline(found, f"max-{name}") == pytest.approx(largest)
        effective = learning_rate.effective_learning_rate(system, norm=1.5)
        assert headline(found, f"effective-{name}") == pytest.approx(effective)
        # The stationary overlap of a linear unit above its maximum rate is sqrt(eta_max / eta), sheet B.2.
        above = [row for row in found.rows if row["learning_rate"] > 1.05 * largest]
        ends = [math.sqrt(largest / row["learning_rate"]) for row in above]
        assert [row[name.replace("-", "_")] for row in above] == pytest.approx(ends, rel=1e-4)
        assert above


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.id)
def test_rows_as_a_table(lab: Lab):
    result = lab.compute(lab.defaults)
    table = list(csv.DictReader(io.StringIO(result.csv())))
    for row, line in zip(result.rows, table, strict=True):
        numbers = {name: float(text) for name, text in line.items()}
        assert {name.replace(" ", "_"): float(value) for name, value in row.items()} == numbers
    assert set(result.columns) >= set(result.rows[0])


@pytest.mark.parametrize(
    ("lab", "state", "name", "sentence"),
    [
        ("dynamics", {"batch_size": 2}, "batch_size", "from 4 to 256"),
        ("dynamics", {"simulate": "yes", "size": "800", "runs": 64, "tau": 200.0}, "size", "too large for the page"),
        ("rates", {"simulate": "yes", "batch_size": 128}, "batch_size", "from 4 to 64"),
    ],
)
def test_parameters_that_do_not_go_together(lab: str, state: dict[str, Any], name: str, sentence: str):
    with pytest.raises(StateError, match=sentence) as error:
        compute(lab, **state)
    assert list(error.value.problems) == [name]
