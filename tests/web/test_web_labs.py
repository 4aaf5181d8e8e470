"""Every lab's numbers are the library's; its state lives in its address."""

from __future__ import annotations

import csv
import io
import math
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from starlette.testclient import TestClient

from bnlens.labs import Choice, Real, StateError, Whole
from bnlens.measure import Report
from bnlens.render import number
from bnlens.simulate import simulate_dynamics, simulate_gap
from bnlens.simulate.generalization import simulate_learning_curve
from bnlens.theory import dynamics, gap_law, generalization, learning_rate
from bnlens.web.labs import LABS, Lab

STATES = [(lab, state) for lab in LABS for state in lab.exported() if lab.cost(state) != "long"]


def answer(client: TestClient, lab: str, **state: object) -> dict:
    response = client.get(f"/api/labs/{lab}", params={name: str(value) for name, value in state.items()})
    assert response.status_code == 200, response.text
    return response.json()


def headline(found: dict, name: str) -> float:
    return next(entry["value"] for entry in found["headlines"] if entry["id"] == name)


def test_gap_lab_has_the_laws_of_the_library(client: TestClient):
    law = gap_law("relu", "laplace", gamma=0.9, beta=-0.3, hessian="gauss-newton")
    found = answer(
        client, "gap", unit="relu", distribution="laplace", gamma=0.9, beta=-0.3, hessian="gauss-newton", batch_size=48
    )
    assert headline(found, "own") == pytest.approx(law.gap(48, "own"), rel=1e-12)
    assert headline(found, "fresh") == pytest.approx(law.gap(48, "fresh"), rel=1e-12)
    assert headline(found, "two-term") == pytest.approx(law.two_term / 48, rel=1e-12)
    assert {row["M"] for row in found["rows"]} >= {4, 48, 1024}


def test_gap_lab_simulates_what_the_library_simulates(client: TestClient):
    found = answer(client, "gap", unit="logistic", simulate="yes", samples=50000, seed=3, batch_size=32)
    alone = simulate_gap("logistic", "gaussian", gamma=0.7, beta=0.2, batch_size=32, samples=50000, seed=3)
    row = next(row for row in found["rows"] if row["M"] == 32)
    assert row["simulated_own"] == pytest.approx(alone.gap, rel=1e-9)
    assert row["simulated_own_stderr"] == pytest.approx(alone.stderr, rel=1e-9)
    law = gap_law("logistic", "gaussian", gamma=0.7, beta=0.2)
    assert abs(alone.gap - law.gap(32)) < 6 * alone.stderr + 0.05 * law.gap(32)


@pytest.mark.parametrize("system", ["sgd", "weight-norm", "gamma-decay", "batch-norm"])
@pytest.mark.parametrize("unit", ["linear", "relu"])
def test_dynamics_lab_has_the_trajectories_of_the_library(client: TestClient, system: str, unit: str):
    kinds = {
        "sgd": dynamics.SGD,
        "weight-norm": dynamics.WeightNorm,
        "gamma-decay": dynamics.GammaDecay,
        "batch-norm": dynamics.BatchNorm,
    }
    more = {"zeta": 0.2} if system == "gamma-decay" else {}
    made = kinds[system](unit=unit, learning_rate=0.5, batch_size=6, label_noise=0.1, **more)
    start = {} if system == "sgd" else {"gamma": 0.4}
    expected = made.solve(np.linspace(0, 5, 11), R=0.1, L=1.5, **start)
    state = {"system": system, "unit": unit, "learning_rate": 0.5, "batch_size": 6, "label_noise": 0.1, "tau": 5}
    found = answer(client, "dynamics", **state, gamma=0.4, overlap=0.1, norm=1.5, **more)
    for name in ("gamma", "R", "L", "generalization_error"):
        assert [row[name] for row in found["rows"]] == pytest.approx(getattr(expected, name).tolist(), abs=1e-6)


def test_gamma_decay_without_a_coefficient_is_the_papers(client: TestClient):
    given = answer(client, "dynamics", system="gamma-decay", batch_size=8, zeta=3 / 32)
    left_out = answer(client, "dynamics", system="gamma-decay", batch_size=8)
    assert given["rows"] == left_out["rows"]


def test_dynamics_lab_simulates_what_the_library_simulates(client: TestClient):
    found = answer(client, "dynamics", simulate="yes", size=100, runs=4, seed=2, tau=2)
    system = dynamics.BatchNorm(unit="linear", learning_rate=1.0, batch_size=8, label_noise=0.25)
    alone = simulate_dynamics(system, np.linspace(0, 2, 11), gamma=0.3, R=0.2, size=100, runs=4, seed=2)
    assert [row["simulated_R"] for row in found["rows"]] == pytest.approx(alone.R.tolist(), rel=1e-6)


def test_rates_lab_has_the_rates_of_the_library(client: TestClient):
    found = answer(client, "rates", batch_size=12, rate=3, norm=1.5)
    batch_norm = dynamics.BatchNorm(unit="linear", learning_rate=3.0, batch_size=12)
    weight_norm = dynamics.WeightNorm(unit="linear", learning_rate=3.0, batch_size=12)
    expected = {
        "max-batch-norm": learning_rate.max_learning_rate(batch_norm, norm=1.5),
        "max-weight-norm": learning_rate.max_learning_rate(weight_norm, norm=1.5),
        "max-gamma-decay": learning_rate.max_learning_rate(batch_norm.as_gamma_decay(), norm=1.5),
        "effective-batch-norm": learning_rate.effective_learning_rate(batch_norm, norm=1.5),
        "effective-weight-norm": learning_rate.effective_learning_rate(weight_norm, norm=1.5),
    }
    for name, value in expected.items():
        assert headline(found, name) == pytest.approx(value, rel=1e-9)
    # The stationary overlap of a linear unit above its maximum rate is sqrt(eta_max / eta), sheet B.2.
    above = [row for row in found["rows"] if row["learning_rate"] > 1.05 * expected["max-batch-norm"]]
    assert above
    for row in above:
        assert row["batch_norm"] == pytest.approx(
            math.sqrt(expected["max-batch-norm"] / row["learning_rate"]), rel=1e-4
        )


@pytest.mark.parametrize(
    ("state", "estimator"),
    [
        ({"estimator": "least-squares"}, generalization.LeastSquares(label_noise=0.5)),
        ({"estimator": "ridge", "decay": 0.3}, generalization.Ridge(decay=0.3, label_noise=0.5)),
        ({"estimator": "gamma-decay", "zeta": 0.1}, generalization.WeightNormDecay(zeta=0.1, label_noise=0.5)),
        ({"estimator": "gamma-decay", "batch_size": 8}, generalization.WeightNormDecay(zeta=3 / 32, label_noise=0.5)),
        ({"estimator": "batch-norm", "batch_size": 16}, generalization.BatchNorm(batch_size=16, label_noise=0.5)),
        (
            {"estimator": "relu", "decay": 0.5, "teacher": "linear"},
            generalization.ReluRidge(decay=0.5, label_noise=0.5, teacher="linear"),
        ),
    ],
)
def test_generalization_lab_has_the_curves_of_the_library(client: TestClient, state: dict, estimator: object):
    found = answer(client, "generalization", **state, label_noise=0.5, alpha=1.7)
    loads = [row["alpha"] for row in found["rows"]]
    curve = generalization.learning_curve(estimator, loads)  # type: ignore[arg-type]
    for row, error in zip(found["rows"], curve.error.tolist(), strict=True):
        assert row["error"] == (pytest.approx(error, rel=1e-9) if math.isfinite(error) else None)
    assert headline(found, "error") == pytest.approx(float(curve.error[loads.index(1.7)]), rel=1e-9)


def test_generalization_lab_simulates_what_the_library_simulates(client: TestClient):
    found = answer(client, "generalization", estimator="ridge", simulate="yes", dimension=50, runs=3, seed=5, alpha=2)
    ridge = generalization.Ridge(decay=0.25, label_noise=0.25)
    alone = simulate_learning_curve(ridge, [2.0], dimension=50, runs=3, seed=5)
    assert headline(found, "simulated") == pytest.approx(float(alone.error[0]), rel=1e-9)


def test_network_lab_has_the_reports_prediction(client: TestClient, report: Report):
    found = answer(client, "network", report="nets/small.json", batch_size=40, kind="fisher")
    expected = report.predict(40, kind="fisher")
    assert headline(found, "predicted") == expected.network.value
    assert [row["predicted"] for row in found["rows"]] == [
        expected.network.value,
        *(e.value for e in expected.layers.values()),
    ]
    assert headline(found, "measured") == report.network.gaps.measured[16].value


@pytest.mark.parametrize(("lab", "state"), STATES, ids=lambda part: part.id if isinstance(part, Lab) else "")
def test_python_line_runs_and_has_the_numbers(lab: Lab, state: dict):
    result = lab.compute(state)
    *before, last = [line for line in result.code.splitlines() if line]
    names: dict = {}
    exec("\n".join(before), names)  # noqa: S102 - our own text
    value = eval(last, names)  # noqa: S307
    if lab.id == "gap":
        at = {entry.id: entry.value for entry in result.headlines}
        assert value == pytest.approx((at["own"], at["fresh"], at["two-term"]))
    elif lab.id == "dynamics":
        assert value["R"].tolist() == pytest.approx([row["R"] for row in result.rows], abs=1e-6)
    elif lab.id == "generalization":
        assert value["error"].iloc[-1] == pytest.approx(result.headlines[0].value)


@pytest.mark.parametrize(("lab", "state"), STATES, ids=lambda part: part.id if isinstance(part, Lab) else "")
def test_address_of_a_state_reads_back_to_it(lab: Lab, state: dict):
    assert lab.read(dict(parse_qsl(lab.query(state)))) == state
    assert lab.query(lab.read(dict(parse_qsl(lab.query(state))))) == lab.query(state)


def test_knobs_without_effect_are_not_in_the_address():
    lab = next(lab for lab in LABS if lab.id == "dynamics")
    assert lab.query(lab.read({"system": "sgd", "zeta": "0.3", "gamma": "2", "seed": "5"})) == "system=sgd"


def test_page_shows_the_state_of_its_address(client: TestClient):
    page = client.get("/labs/gap?unit=relu&gamma=1.25&batch_size=48").text
    assert '<option value="relu" selected>' in page
    assert 'name="gamma" data-testid="knob-gamma" type="number" inputmode="decimal" value="1.25"' in page
    own = gap_law("relu", "gaussian", gamma=1.25, beta=0.2).gap(48, "own")
    assert number(own) in page
    assert "/api/labs/gap.csv?unit=relu&amp;gamma=1.25&amp;batch_size=48" in page
    assert "<math" in page


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.id)
def test_values_out_of_range_are_named_on_page_and_in_api(client: TestClient, lab: Lab):
    for parameter in lab.parameters:
        if isinstance(parameter, Choice):
            wrong = ["neither", "<script>"]
        elif isinstance(parameter, Whole):
            wrong = [str(parameter.minimum - 1), str(parameter.maximum + 1), "2.5", "x", "1e400", "9" * 5000]
        else:
            assert isinstance(parameter, Real)
            wrong = [str(parameter.maximum + 1), str(parameter.minimum - 1), "nan", "inf", "-inf", "x", "1e400"]
        for text in wrong:
            with pytest.raises(StateError) as error:
                lab.read({parameter.name: text})
            assert error.value.problems == {parameter.name: parameter.problem}
            data = client.get(f"/api/labs/{lab.id}", params={parameter.name: text})
            assert (data.status_code, data.json()) == (422, {"error": parameter.problem})
        page = client.get(f"/labs/{lab.id}", params={parameter.name: wrong[-1]})
        assert page.status_code == 422
        assert f'id="knob-{parameter.name}-problem"' in page.text
        assert "<script>neither" not in page.text


def test_two_knobs_that_do_not_go_together(client: TestClient):
    response = client.get("/labs/dynamics?batch_size=2")
    assert response.status_code == 422
    assert 'data-testid="knob-batch_size-problem"' in response.text
    assert "4 or more" in client.get("/api/labs/dynamics?batch_size=2").json()["error"]
    assert client.get("/labs/dynamics?batch_size=2&system=sgd").status_code == 200


def test_library_errors_are_one_sentence(client: TestClient):
    for path in ("/labs/dynamics", "/api/labs/dynamics"):
        response = client.get(f"{path}?system=sgd&learning_rate=50&batch_size=1&tau=50")
        assert response.status_code == 422
        assert "diverges" in response.text


def test_csv_is_the_table(client: TestClient):
    response = client.get("/api/labs/gap.csv?unit=poisson&batch_size=20")
    assert response.headers["content-type"].startswith("text/csv")
    assert "attachment" in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    law = gap_law("poisson", "gaussian", gamma=0.7, beta=0.2)
    assert {int(row["M"]): float(row["own"]) for row in rows}[20] == pytest.approx(law.gap(20), rel=1e-12)


def test_schema_has_every_range(client: TestClient):
    schema = client.get("/api/openapi.json").json()
    for lab in LABS:
        given = {
            entry["name"]: entry["schema"] for entry in schema["paths"][f"/api/labs/{lab.id}"]["get"]["parameters"]
        }
        assert set(given) == {parameter.name for parameter in lab.parameters}
        for parameter in lab.parameters:
            kind = given[parameter.name].get("anyOf", [given[parameter.name]])[0]
            if isinstance(parameter, Choice):
                assert kind["enum"] == list(parameter.options)
            elif isinstance(parameter, Real | Whole):
                assert (kind["minimum"], kind["maximum"]) == (parameter.minimum, parameter.maximum)
    assert urlsplit(schema["paths"].popitem()[0]).path.startswith("/api/")
