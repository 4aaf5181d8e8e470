"""What the server refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from bnlens.measure import Report
from bnlens.web import create_app
from bnlens.web.reports import MAX_BYTES

URL = "http://127.0.0.1"
SEND = "/labs/network/send"


def token(client: TestClient) -> str:
    found = re.search(r'name="token" value="([^"]+)"', client.get("/labs/network").text)
    assert found
    return found[1]


def send(client: TestClient, content: bytes, *, headers: dict | None = None, given: str | None = None):
    data = {"token": token(client) if given is None else given}
    files = {"file": ("net.json", content, "application/json")}
    return client.post(SEND, data=data, files=files, headers=headers or {})


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8765", "[::2]", "0"]
)
def test_other_hosts_are_refused(client: TestClient, host: str):
    response = client.get("/api/labs", headers={"Host": host})
    assert response.status_code == 400
    assert "error" in response.json()


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765"])
def test_own_names_are_answered(client: TestClient, host: str):
    assert client.get("/api/labs", headers={"Host": host}).status_code == 200


def test_a_server_for_all_addresses_still_refuses_names(folder: Path):
    client = TestClient(create_app(folder, host="0.0.0.0"), base_url="http://10.1.2.3")  # noqa: S104
    assert client.get("/api/labs").status_code == 200
    assert client.get("/api/labs", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": URL},
    ],
)
def test_posts_from_other_sites_are_refused(client: TestClient, report: Report, headers: dict):
    assert send(client, report.to_json().encode(), headers=headers).status_code == 403


def test_posts_need_the_token(client: TestClient, report: Report):
    for given in ("", "wrong", "é"):
        assert send(client, report.to_json().encode(), given=given).status_code == 422
    fresh = TestClient(client.app, base_url=URL)
    assert send(fresh, report.to_json().encode(), given=token(client)).status_code == 422


def test_other_sites_may_link_but_not_embed(client: TestClient):
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/labs/gap", headers=navigation).status_code == 200
    assert client.get("/labs/gap", headers={**navigation, "Sec-Fetch-Mode": "no-cors"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/labs/gap", "/api/labs", "/missing", "/static/missing.js"])
def test_security_headers_are_on_every_answer(client: TestClient, path: str):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/labs", "/labs/gap", "/labs/network", "/api/docs", "/missing"])
def test_pages_load_nothing_from_elsewhere_and_hold_no_script(client: TestClient, path: str):
    text = client.get(path).text
    loaded = re.findall(r'<(?:link|script|img|iframe)[^>]*?(?:href|src)="([^"]*)"', text)
    assert loaded
    assert all(address.startswith("/static/") for address in loaded)
    for address in loaded:
        assert "immutable" in client.get(address).headers["cache-control"]
    assert all('type="application/json"' in script or "src=" in script for script in re.findall(r"<script[^>]*>", text))
    assert " onclick=" not in text


def test_a_sent_report_is_shown_and_kept_in_memory(app: FastAPI, client: TestClient, report: Report, folder: Path):
    before = sorted(folder.rglob("*"))
    response = send(client, report.to_json().encode())
    assert response.status_code == 200
    assert response.url.path == "/labs/network"
    name = dict(response.url.params)["report"]
    data = client.get("/api/labs/network", params={"report": name, "batch_size": 32}).json()
    assert data["headlines"][0]["value"] == report.predict(32).network.value
    assert sorted(folder.rglob("*")) == before


def damaged(report: Report, *path: str, value: object) -> bytes:
    document = json.loads(report.to_json())
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(document).encode()


def test_files_that_are_no_reports_are_refused(client: TestClient, report: Report):
    deep = b'{"kind": "bnlens report", "schema": 1, "model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    contents = [
        b"",
        b"{}",
        b"\x80\x04\x95",
        b"[" * 200_000,
        deep,
        b'{"kind": "bnlens report", "schema": 99}',
        b'{"kind": "bnlens report", "schema": 1}',
        damaged(report, "network", "gaps", "source", value=0),
        damaged(report, "network", "gaps", "population", value=1),
        damaged(report, "network", "gaps", "measured", value={}),
        damaged(report, "statistics_batch_sizes", value=[]),
        damaged(report, "model", value=["not", "text"]),
    ]
    for content in contents:
        response = send(client, content)
        assert response.status_code == 422, content[:60]
        assert 'data-testid="error"' in response.text


def test_names_in_a_report_are_text(client: TestClient, report: Report):
    content = damaged(report, "model", value="<script>alert(1)</script>")
    response = send(client, content)
    assert response.status_code == 200
    assert "<script>alert" not in response.text
    document = json.loads(content)
    document["layers"][0]["name"] = "=cmd()"
    response = send(client, json.dumps(document).encode())
    table = client.get("/api/labs/network.csv", params={"report": dict(response.url.params)["report"]}).text
    assert "\n=cmd()" not in table
    assert "'=cmd()" in table


def test_too_large_a_file_is_refused_unread(client: TestClient):
    assert send(client, b" " * (MAX_BYTES + 10_000)).status_code == 413


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "link.json",
        "/etc/passwd",
        "nets/../../secret.json",
        "other.json",
        "..",
        "nets",
        "missing.json",
        "%2e%2e/secret.json",
    ],
)
def test_nothing_but_reports_of_the_folder_can_be_opened(client: TestClient, folder: Path, name: str):
    assert client.get("/api/labs/network", params={"report": name}).status_code == 404
    assert client.get("/labs/network", params={"report": name}).status_code == 404
    assert client.get(f"/api/reports/{name.replace('..', '%2e%2e')}").status_code == 404


def test_reports_are_listed_and_read_back(client: TestClient, report: Report):
    names = [entry["name"] for entry in client.get("/api/reports").json() if not entry["name"].startswith("sent-")]
    assert names == ["nets/small.json"]
    assert Report.loads(client.get("/api/reports/nets/small.json").text) == report
