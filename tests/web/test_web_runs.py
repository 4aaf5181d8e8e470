"""Runs that a reader starts: one at a time, in a process of its own, followed to its verdict, cancelled without harm."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient

from bnlens.runs import available_cores, read_records
from bnlens.web import create_app
from web import fake_claims
from web.readers import URL


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets claim L1 finish once it exists."""
    monkeypatch.setenv(fake_claims.GATE, str(tmp_path / "gate"))
    return tmp_path / "gate"


@pytest.fixture
def client(tmp_path: Path, gate: Path) -> Iterator[TestClient]:
    with TestClient(create_app(tmp_path / "out", register=fake_claims.register), base_url=URL) as client:
        yield client


def start(client: TestClient, claim: str) -> Response:
    return client.post(f"/claims/{claim}/run", follow_redirects=False)


def cancel(client: TestClient) -> Response:
    return client.post("/runs/cancel")


def wait_for(client: TestClient, **expected: object) -> dict[str, Any]:
    """The current run, once it stands as expected."""
    end = time.monotonic() + fake_claims.PATIENCE
    while time.monotonic() < end:
        run = client.get("/api/runs/current").json()
        if all(run[name] == value for name, value in expected.items()):
            return run
        if run["status"] == "failed":
            break
        time.sleep(0.02)
    raise AssertionError(f"the run did not come to {expected}: {run}")


def begun(client: TestClient) -> None:
    """Start a run that has one job done and waits for the gate."""
    start(client, fake_claims.WAITS)
    wait_for(client, done=1)


def test_a_claim_is_computed_to_its_verdict(client: TestClient, tmp_path: Path):
    assert client.get("/api/runs/current").status_code == 404
    response = start(client, "d3")
    assert (response.status_code, response.headers["location"]) == (303, "/claims/D3")
    done = wait_for(client, status="done")
    assert (done["claim"], done["jobs"], done["done"], done["fraction"], done["errors"]) == ("D3", 1, 1, 1.0, [])
    result = client.get("/api/claims/D3").json()["result"]
    assert (result["verdict"], result["scale"], result["is_current"]) == ("does not hold here", "quick", True)
    assert 'data-testid="verdict-D3">does not hold here<' in client.get("/findings").text
    [record] = read_records(tmp_path / "out" / "runs.sqlite")
    assert (record.claim, record.status) == ("D3", "done")
    assert not (tmp_path / "out" / "run.progress").exists()


def test_a_claim_says_how_long_it_takes_and_runs_again(client: TestClient, gate: Path):
    entry = client.get(f"/api/claims/{fake_claims.WAITS}").json()
    assert entry["expected_seconds"] == pytest.approx((9 + 1) / available_cores())  # the costs of its two jobs
    for _ in range(2):  # the second computes what is stored, and waits at the gate, too
        gate.unlink(missing_ok=True)
        begun(client)
        gate.touch()
        wait_for(client, status="done", done=2)
    entry = client.get(f"/api/claims/{fake_claims.WAITS}").json()
    assert entry["expected_seconds"] == pytest.approx(entry["result"]["seconds"] / available_cores())


def test_a_second_start_is_refused_while_one_goes_on(client: TestClient, gate: Path):
    for response, expected in (
        (start(client, claim), status) for claim, status in (("L1", 303), ("D1", 409), ("L1", 409))
    ):
        assert response.status_code == expected
        assert expected == 303 or "L1 is being computed" in response.text
    gate.touch()
    wait_for(client, status="done")
    assert start(client, "D1").status_code == 303
    wait_for(client, claim="D1", status="done")


def test_a_cancelled_run_keeps_what_it_has_and_goes_on_later(client: TestClient, gate: Path, tmp_path: Path):
    begun(client)
    page = cancel(client)
    assert (page.url.path, client.get("/api/runs/current").json()["status"]) == ("/claims/L1", "cancelled")
    assert "was cancelled" in page.text
    records = read_records(tmp_path / "out" / "runs.sqlite")
    assert [(record.job, record.status) for record in records] == [("first", "done")]
    entry = client.get("/api/claims/L1").json()["result"]
    assert (entry["stored"], entry["jobs"], entry["verdict"]) == (1, 2, "not judged")
    for text in ("cut short", "1 of 2 jobs are stored"):
        assert text in page.text
    assert cancel(client).status_code == 200  # once more does no harm
    gate.touch()
    start(client, "L1")
    wait_for(client, status="done", done=2)
    assert client.get("/api/claims/L1").json()["result"]["verdict"] == "holds"


def test_a_job_that_fails_is_said(client: TestClient):
    start(client, fake_claims.FAILS)
    run = wait_for(client, status="failed")
    assert any("the matrix is singular" in error for error in run["errors"])
    assert "the matrix is singular" in client.get(f"/claims/{fake_claims.FAILS}").text


def test_a_process_that_dies_is_said_and_the_next_run_starts(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bnlens.web.claims.runs._compute", die)
    start(client, "D1")
    assert "ended before it had finished" in wait_for(client, status="failed")["errors"][0]
    monkeypatch.undo()
    start(client, "D1")
    wait_for(client, status="done")


def die(*arguments: object) -> None:
    os._exit(3)


def test_a_server_that_ends_ends_its_run(tmp_path: Path, gate: Path):
    with TestClient(create_app(tmp_path / "out", register=fake_claims.register), base_url=URL) as client:
        begun(client)
    gate.touch()  # a run that had gone on would be stored now
    assert [record.job for record in read_records(tmp_path / "out" / "runs.sqlite")] == ["first"]
    with TestClient(create_app(tmp_path / "out", register=fake_claims.register), base_url=URL) as client:
        start(client, "D1")  # nobody holds the results
        wait_for(client, status="done")


def test_runs_without_scripts(client: TestClient, gate: Path):
    page = client.post(f"/claims/{fake_claims.WAITS}/run")
    assert (page.url.path, 'http-equiv="refresh"' in page.text) == ("/claims/L1", True)
    wait_for(client, done=1)
    assert "L1 is being computed" in client.get("/findings").text
    assert client.get("/runs").url.path == "/claims/L1"  # where all runs were listed once
    page = cancel(client)
    assert 'http-equiv="refresh"' not in page.text


def test_a_claim_that_is_not_there_is_not_run(client: TestClient):
    assert start(client, "D99").status_code == 404
    assert client.get("/runs").url.path == "/claims"
    assert client.get("/api/runs/current").status_code == 404
