"""Every lab's numbers are the library's, those of its simulation and of the Python that it shows included."""

import csv
import io
import math
from typing import Any

import numpy as np
import pytest

from bnlens.labs import LABS, Choice, Lab, Real, Result, StateError, Whole
from bnlens.theory import dynamics, gap_law, learning_rate
from python_lines import printed

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
def test_python_lines_print_the_numbers(lab: str, state: dict[str, Any]):
    result, numbers = compute(lab, **state), np.array(printed(compute(lab, **state).code))
    shown = {entry.label: entry.value for entry in result.headlines}
    shown |= {f"{entry.label} error": entry.stderr for entry in result.headlines if entry.stderr is not None}
    shown |= {f"{place} {name}": value for place, row in enumerate(result.rows) for name, value in row.items()}
    assert any("simulated" in name for name in shown) == (state.get("simulate") == "yes")
    # Frames print six decimals.
    missing = {
        name: value for name, value in shown.items() if not np.isclose(numbers, value, rtol=2e-6, atol=2e-6).any()
    }
    assert missing == {}


ENDS = [
    (lab.id, parameter.name, value, simulate)
    for lab in LABS
    for simulate in ("no", "yes")
    for parameter in lab.parameters
    if isinstance(parameter, Real | Whole)
    for own in [parameter.at({**lab.defaults, "simulate": simulate})]
    if own.matters({**lab.defaults, "simulate": simulate}) or simulate == "no"
    for value in (own.minimum, own.maximum)
]


@pytest.mark.parametrize(("lab", "name", "value", "simulate"), ENDS, ids=str)
def test_a_knob_at_its_end_gives_a_figure_and_beyond_a_sentence(lab: str, name: str, value: float, simulate: str):
    parameter = BY_ID[lab].parameter(name)
    small = {"runs": 2, "tau": 1.0, "samples": "50000", "dimension": "50", "size": "50" if lab == "rates" else "100"}
    given = {key: text for key, text in small.items() if key in BY_ID[lab].defaults and key != "tau"}
    for choices in others(BY_ID[lab]) if simulate == "no" else [{}]:
        state = {**(given if simulate == "yes" else {}), **choices, "simulate": simulate}
        own = parameter.at({**BY_ID[lab].defaults, **state})
        if not own.matters({**BY_ID[lab].defaults, **state}):
            continue
        end = own.minimum if value == min(parameter.minimum, value) else own.maximum
        BY_ID[lab].settle({**BY_ID[lab].defaults, **state, name: end})  # taken
        if simulate == "no":
            assert compute(lab, **state, **{name: end}).figure.data
        beyond = end - 1 if end == own.minimum else end + 1
        with pytest.raises(StateError) as error:
            compute(lab, **state, **{name: beyond})
        assert error.value.problems == {name: own.problem}


def others(lab: Lab) -> list[dict[str, str]]:
    """The choices of a lab, one away from the default at a time."""
    choices = [
        parameter for parameter in lab.parameters if isinstance(parameter, Choice) and parameter.name != "simulate"
    ]
    return [{}, *({choice.name: option} for choice in choices for option in choice.options if option != choice.default)]


def test_weights_that_diverge_are_shown_until_then():
    state = {"system": "sgd", "learning_rate": 50.0, "batch_size": 1, "tau": 50.0}
    result = compute("dynamics", **state)
    assert 1e3 < headline(result, "norm") < 1e6
    assert any("without bound" in note for note in result.notes)
    assert result.rows[-1]["tau"] < 50


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
