"""Runs that a reader starts: one at a time, in a process of its own, followed to its verdict, cancelled without harm."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bnlens.runs import read_records
from bnlens.web import create_app
from bnlens.web.worker import Process
from web import fake_claims
from web.readers import URL, cancel, events, start


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets claim L1 finish once it exists."""
    monkeypatch.setenv(fake_claims.GATE, str(tmp_path / "gate"))
    return tmp_path / "gate"


@pytest.fixture
def client(tmp_path: Path, gate: Path) -> Iterator[TestClient]:
    with TestClient(create_app(tmp_path / "out", register=fake_claims.register), base_url=URL) as client:
        yield client


def wait_for(client: TestClient, **expected: object) -> dict:
    """The current run, once it stands as expected."""
    end = time.monotonic() + fake_claims.PATIENCE
    while time.monotonic() < end:
        run = client.get("/api/runs/current").json()
        if all(run[name] == value for name, value in expected.items()):
            return run
        time.sleep(0.02)
    raise AssertionError(f"the run did not come to {expected}: {run}")


def begun(client: TestClient) -> Process:
    """The process of a run that has one job done and waits for the gate."""
    start(client, fake_claims.WAITS)
    wait_for(client, done=1)
    return client.app.state.site.runs._process


def test_a_claim_is_computed_to_its_verdict(client: TestClient, tmp_path: Path):
    assert client.get("/api/runs").json() == []
    assert client.get("/api/runs/current").status_code == 404
    response = start(client, "d3")
    assert (response.status_code, response.json()["claim"], response.json()["status"]) == (202, "D3", "running")
    done = wait_for(client, status="done")
    assert (done["jobs"], done["done"], done["fraction"], done["errors"]) == (1, 1, 1.0, [])
    result = client.get("/api/claims/D3").json()["result"]
    assert (result["verdict"], result["scale"], result["is_current"]) == ("does not hold here", "quick", True)
    assert 'data-testid="verdict-D3">does not hold here<' in client.get("/findings").text
    assert [entry["claim"] for entry in client.get("/api/runs").json()] == ["D3"]
    [record] = read_records(tmp_path / "out" / "runs.sqlite")
    assert (record.claim, record.status) == ("D3", "done")


def test_the_run_is_a_process_of_its_own(client: TestClient, gate: Path):
    process = begun(client)
    assert process.is_alive
    gate.touch()
    wait_for(client, status="done")
    assert not process.is_alive


def test_a_second_start_is_refused_while_one_goes_on(client: TestClient, gate: Path):
    start(client, fake_claims.WAITS)
    for response in (start(client, "D1"), client.post("/claims/D1/run")):
        assert response.status_code == 409
        assert "L1 is being computed" in response.text
    gate.touch()
    wait_for(client, status="done")
    assert start(client, "D1").status_code == 202
    wait_for(client, claim="D1", status="done")


def test_only_one_of_many_starts_at_once_wins(client: TestClient, gate: Path):
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: start(client, fake_claims.WAITS).status_code, range(6)))
    assert sorted(found) == [202, 409, 409, 409, 409, 409]
    cancel(client)


def test_the_stream_ends_with_the_verdict(client: TestClient, gate: Path):
    assert client.get("/api/runs/events").status_code == 404
    begun(client)
    with ThreadPoolExecutor(2) as threads:
        streams = [threads.submit(client.get, "/api/runs/events") for _ in range(2)]
        gate.touch()
    for stream in streams:  # each page sees the same run
        found = [json.loads(data) for data in events(stream.result().text)]
        assert {entry["claim"] for entry in found} == {"L1"}
        assert [entry["status"] for entry in found[:-1]] == ["running"] * (len(found) - 1)
        assert (found[-1]["status"], found[-1]["done"], found[-1]["jobs"]) == ("done", 2, 2)
        assert [entry["done"] for entry in found] == sorted(entry["done"] for entry in found)
    assert client.get("/api/claims/L1").json()["result"]["verdict"] == "holds"
    last = client.get("/api/runs/events")
    assert last.headers["content-type"].startswith("text/event-stream")
    assert [json.loads(data)["status"] for data in events(last.text)] == ["done"]


def test_a_cancelled_run_keeps_what_it_has_and_goes_on_later(client: TestClient, gate: Path, tmp_path: Path):
    process = begun(client)
    run = cancel(client).json()
    assert (run["status"], run["errors"]) == ("cancelled", [])
    assert not process.is_alive
    records = read_records(tmp_path / "out" / "runs.sqlite")
    assert [(record.job, record.status) for record in records] == [("first", "done")]
    entry = client.get("/api/claims/L1").json()["result"]
    assert (entry["stored"], entry["jobs"], entry["verdict"]) == (1, 2, "not judged")
    page = client.get("/claims/L1").text
    assert "cut short" in page
    assert "1 of 2 jobs are stored" in page
    assert cancel(client).json()["status"] == "cancelled"  # once more does no harm
    gate.touch()
    assert start(client, "L1").status_code == 202
    done = wait_for(client, status="done")
    assert (done["stored"], done["done"]) == (1, 2)
    assert client.get("/api/claims/L1").json()["result"]["verdict"] == "holds"


def test_a_job_that_fails_is_said(client: TestClient):
    start(client, fake_claims.FAILS)
    run = wait_for(client, status="failed")
    assert any("the matrix is singular" in error for error in run["errors"])
    assert "Traceback" not in json.dumps(run)
    assert "the matrix is singular" in client.get("/runs").text


def test_a_process_that_is_killed_is_said(client: TestClient):
    begun(client).kill()
    run = wait_for(client, status="failed")
    assert "ended before it had finished" in run["errors"][0]
    assert start(client, "D1").status_code == 202  # and the next one starts
    run = wait_for(client, claim="D1")
    wait_for(client, status="done" if run["status"] != "failed" else "failed")


def test_a_server_that_ends_ends_its_run(tmp_path: Path, gate: Path):
    with TestClient(create_app(tmp_path / "out", register=fake_claims.register), base_url=URL) as client:
        process = begun(client)
    assert not process.is_alive
    assert [record.job for record in read_records(tmp_path / "out" / "runs.sqlite")] == ["first"]


def test_runs_without_scripts(client: TestClient, gate: Path):
    page = client.post(f"/claims/{fake_claims.WAITS}/run")
    assert page.url.path == "/runs"
    assert 'http-equiv="refresh"' in page.text
    wait_for(client, done=1)
    assert "L1 is being computed" in client.get("/findings").text
    page = client.post("/runs/cancel")
    assert page.url.path == "/runs"
    assert 'data-testid="status">cancelled<' in page.text
    assert 'http-equiv="refresh"' not in page.text


def test_orders_that_cannot_be(client: TestClient):
    missing = [({"claim": claim}, 404) for claim in ("D99", "")]
    invalid = [({"claim": claim}, 422) for claim in ("D" * 21, 1, ["D1"])]
    for order, status in (
        *missing,
        *invalid,
        *((order, 422) for order in ({}, {"claim": "D1", "scale": "full"}, [], None)),
    ):
        response = client.post("/api/runs", json=order)
        assert response.status_code == status, order
        assert response.json()["error"]
    assert client.post("/claims/D99/run").status_code == 404
    assert client.get("/api/runs").json() == []
