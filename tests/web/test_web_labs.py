"""A lab on the page and in the API: its state lives in its address; its numbers are tested in tests/labs."""

import html
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from starlette.testclient import TestClient

from bnlens.claims import claims
from bnlens.labs import Choice, Real, StateError, Whole
from bnlens.measure import Report
from bnlens.render import number
from bnlens.theory import gap_law
from bnlens.web.labs.claims import claims_of, lab_link
from bnlens.web.labs.lab import LABS, Lab
from python_lines import printed


def answer(client: TestClient, lab: str, **state: object) -> dict:
    response = client.get(f"/api/labs/{lab}", params={name: str(value) for name, value in state.items()})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("gap", {"unit": "relu", "distribution": "laplace", "gamma": 0.9, "hessian": "gauss-newton", "batch_size": 48}),
        ("dynamics", {"system": "gamma-decay", "zeta": 0.2, "tau": 5.0, "overlap": -0.1}),
        ("rates", {"batch_size": 12, "rate": 3.0, "norm": 1.5}),
        ("generalization", {"estimator": "ridge", "simulate": "yes", "dimension": "50", "runs": 3, "seed": 5}),
    ],
)
def test_numbers_are_the_labs(client: TestClient, name: str, given: dict):
    lab = next(lab for lab in LABS if lab.id == name)
    state = lab.settle({**lab.defaults, **given})
    result = lab.compute(state)
    found = answer(client, name, **given)
    assert found["state"] == state
    assert {key: found[key] for key in ("headlines", "rows", "notes", "python")} == result.data()
    table = client.get(f"/api/labs/{name}.csv", params=given)
    assert table.headers["content-type"].startswith("text/csv")
    assert f'filename="bnlens-{name}-' in table.headers["content-disposition"]
    assert table.text == result.csv()
    page = client.get(f"/labs/{name}", params=given).text
    assert result.headlines[0].text in page
    assert result.code in html.unescape(page)


def test_network_lab_has_the_reports_prediction(
    client: TestClient, report: Report, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    found = answer(client, "network", report="nets/small.json", batch_size=40, kind="fisher")
    monkeypatch.chdir(folder)
    numbers = np.array(printed(found["python"]))
    for row in found["rows"]:
        printed_too = {name: value for name, value in row.items() if name not in ("layer", "measured_at", "share")}
        assert all(np.isclose(numbers, value, rtol=2e-6, atol=2e-6).any() for value in printed_too.values()), row
    pool = report.network.gaps.population
    for column, expected in (
        ("predicted", report.predict(40, kind="fisher")),
        ("predicted_in_the_pool", report.predict(40, kind="fisher", population=pool)),
    ):
        predicted = [expected.network.value, *(estimate.value for estimate in expected.layers.values())]
        assert [row[column] for row in found["rows"]] == pytest.approx(predicted)
    assert f"pool of {pool} samples" in found["notes"][0]
    page = client.get("/labs/network", params={"report": "nets/small.json", "batch_size": 40, "kind": "fisher"}).text
    assert '<details data-testid="table" open>' in page
    assert '<option value="logits" disabled>' in page  # this report has none
    assert '<option value="two_term">' in page
    values = {entry["id"]: entry["value"] for entry in found["headlines"]}
    assert values["predicted"] == found["rows"][0]["predicted"]
    assert values["measured"] == report.network.gaps.measured[16].value


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.id)
def test_address_of_a_state_reads_back_to_it(lab: Lab):
    for state in lab.exported():
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
            wrong = [str(parameter.minimum - 1), str(parameter.maximum + 1), "", "2.5", "x", "1e400", "9" * 5000]
        else:
            assert isinstance(parameter, Real)
            wrong = [str(parameter.maximum + 1), str(parameter.minimum - 1), "nan", "inf", "-inf", "x", "1e400"]
            wrong += [""] if parameter.default is not None else []
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


def test_a_number_that_may_be_left_empty(client: TestClient):
    empty, left_out = (client.get(f"/api/labs/dynamics?system=gamma-decay{text}").json() for text in ("&zeta=", ""))
    assert empty == left_out


def test_claims_have_their_labs(client: TestClient):
    labs = {lab.id: lab for lab in LABS}
    links = {claim: lab_link(claim, labs) for claim in claims()}
    shown = {claim: link[1] for claim, link in links.items() if link is not None}
    assert {claim for lab in labs for claim in claims_of(lab)} == set(shown) > {"D1", "L1", "G4"}
    for claim, address in shown.items():
        page = client.get(address)
        assert page.status_code == 200
        assert f'<a href="/claims/{claim}">' in page.text
        assert re.search(r'<a href="/derivation/[A-D]', page.text)
    assert "unit=softplus_glm&gamma=1.2&beta=0.1&batch_size=64" in shown["D1"]  # its headline's point
    assert links["E1"] is None


def test_two_knobs_that_do_not_go_together(client: TestClient):
    response = client.get("/labs/dynamics?batch_size=2")
    assert response.status_code == 422
    assert 'data-testid="knob-batch_size-problem"' in response.text
    assert "from 4 to 256" in client.get("/api/labs/dynamics?batch_size=2").json()["error"]
    assert client.get("/labs/dynamics?batch_size=2&system=sgd").status_code == 200


def test_library_errors_are_one_sentence(client: TestClient):
    for path in ("/labs/network", "/api/labs/network"):
        response = client.get(f"{path}?report=nets/small.json&kind=logits")
        assert response.status_code == 422
        assert "logits=True" in response.text


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
