"""What the server refuses."""

import json
import re
from functools import reduce
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from bnlens.measure import Report
from bnlens.web import create_app
from bnlens.web.library import ReportLibrary
from web.readers import URL, send_file

SEND = "/labs/network/send"
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Origin": f"{URL}:9"},
    {"Origin": f"{URL}.evil.example"},
    {"Referer": f"http://evil.example/{URL}"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": URL},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "none", "Origin": "null"},
    {"Origin": "null", "Referer": f"{URL}/discussion"},
    {"Origin": "http://evil.example", "X-Bnlens-Token": "t" * 32, "Cookie": f"bnlens_token={'t' * 32}"},
]
OWN = [
    {},  # a program
    {"Origin": URL},
    {"Origin": URL, "Sec-Fetch-Site": "same-origin"},
    {"Referer": f"{URL}/discussion"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost:1", "Host": "LOCALHOST:1"},
    {"X-Bnlens-Token": "t" * 300, "Cookie": "bnlens_token=other"},  # as programs had to send it once
]


def changing(app: FastAPI) -> list[tuple[str, str]]:
    """Method and address of every route that may change something: those of the schema, and the forms of the pages."""
    found = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    routes = [route for page in app.state.site.pages for route in page.router(app.state.site).routes]
    found += [(method, route.path) for route in routes if isinstance(route, Route) for method in route.methods or ()]
    safe = {"GET", "HEAD", "OPTIONS"}
    return [(method, path.format(claim_id="D1", note_id=1)) for method, path in found if method not in safe]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8765", "[::2]", "0"]
)
def test_other_hosts_are_refused(client: TestClient, host: str):
    response = client.get("/api/labs", headers={"Host": host})
    assert response.status_code == 400
    assert "error" in response.json()


def test_own_names_are_answered(client: TestClient):
    for host in ("127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765"):
        assert client.get("/api/labs", headers={"Host": host}).status_code == 200


def test_a_server_for_all_addresses_still_refuses_names(folder: Path):
    client = TestClient(create_app(folder, host="0.0.0.0"), base_url="http://10.1.2.3")  # noqa: S104
    assert client.get("/api/labs").status_code == 200
    assert client.get("/api/labs", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("headers", FOREIGN)
def test_nothing_is_changed_from_another_site(tmp_path: Path, report: Report, headers: dict[str, str]):
    app = create_app(tmp_path)
    site, client = app.state.site, TestClient(app, base_url=URL)
    note = site.notes.add("original")
    assert len(changing(app)) >= 7
    for method, path in changing(app):
        form = {"text": "evil", "subject": ""}
        assert client.request(method, path, headers=headers, data=form).status_code == 403, (method, path)
    assert send_file(client, SEND, report.to_json().encode(), headers=headers).status_code == 403
    assert site.notes.all() == [note]
    assert (site.runs.current(), site.reports.names(), site.networks.names()) == (None, {}, {})


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_a_foreign_name_for_this_server_is_refused(client: TestClient, method: str):
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    assert client.request(method, "/discussion", headers=headers, data={"text": "evil"}).status_code == 400


@pytest.mark.parametrize("headers", OWN)
def test_own_pages_and_programs_may_write(tmp_path: Path, headers: dict[str, str]):
    client = TestClient(create_app(tmp_path), base_url=URL)
    form = {"text": "one", "version": "1", "token": "t" * 32}  # of a page that was open before these went
    assert client.post("/discussion", data=form, headers=headers, follow_redirects=False).status_code == 303
    assert [note["text"] for note in client.get("/api/notes").json()] == ["one"]


@pytest.mark.parametrize("path", ["/", "/api/runs/current"])
def test_no_web_socket_is_opened(client: TestClient, path: str):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
        pass


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


@pytest.mark.parametrize("path", ["/", "/labs", "/labs/gap", "/labs/network", "/missing"])
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
    response = send_file(client, SEND, report.to_json().encode())
    assert (response.status_code, response.url.path) == (200, "/labs/network")
    name = dict(response.url.params)["report"]
    data = client.get("/api/labs/network", params={"report": name, "batch_size": 32}).json()
    assert data["headlines"][0]["value"] == report.predict(32).network.value
    assert sorted(folder.rglob("*")) == before


def damaged(report: Report, *path: object) -> bytes:
    """A report with the last of these in the place that the others lead to."""
    document = json.loads(report.to_json())
    *outer, name, value = path
    reduce(lambda place, part: place[part], outer, document)[name] = value
    return json.dumps(document).encode()


def test_files_that_are_no_reports_are_refused(client: TestClient, report: Report):
    deep = b'{"kind": "bnlens report", "schema": 1, "model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    schemas = [b'{"kind": "bnlens report", "schema": %d}' % schema for schema in (1, 99)]
    gaps = [damaged(report, "network", "gaps", *at) for at in (("source", 0), ("population", 1), ("measured", {}))]
    others = [damaged(report, *at) for at in (("statistics_batch_sizes", []), ("model", ["not", "text"]))]
    for content in (b"", b"{}", b"\x80\x04\x95", b"[" * 200_000, deep, *schemas, *gaps, *others):
        response = send_file(client, SEND, content)
        assert response.status_code == 422, content[:60]
        assert 'data-testid="error"' in response.text


def test_names_in_a_report_are_text(client: TestClient, report: Report):
    content = damaged(report, "model", "<script>alert(1)</script>")
    response = send_file(client, SEND, content)
    assert response.status_code == 200
    assert "<script>alert" not in response.text
    response = send_file(client, SEND, damaged(report, "layers", 0, "name", "=cmd()"))
    table = client.get("/api/labs/network.csv", params={"report": dict(response.url.params)["report"]}).text
    assert "\n=cmd()" not in table
    assert "'=cmd()" in table


def test_too_large_a_file_is_refused_unread(client: TestClient):
    assert send_file(client, SEND, b" " * (ReportLibrary.max_bytes + 10_000)).status_code == 413


OUTSIDE = (
    "../secret.json link.json /etc/passwd nets/../../secret.json other.json .. nets missing.json %2e%2e/secret.json"
)


@pytest.mark.parametrize("name", OUTSIDE.split())
def test_nothing_but_reports_of_the_folder_can_be_opened(client: TestClient, folder: Path, name: str):
    assert client.get("/api/labs/network", params={"report": name}).status_code == 404
    assert client.get("/labs/network", params={"report": name}).status_code == 404
    assert client.get(f"/api/reports/{name.replace('..', '%2e%2e')}").status_code == 404


def test_reports_are_listed_and_read_back(client: TestClient, report: Report):
    names = [entry["name"] for entry in client.get("/api/reports").json() if not entry["name"].startswith("sent-")]
    assert names == ["nets/small.json"]
    assert Report.loads(client.get("/api/reports/nets/small.json").text) == report
