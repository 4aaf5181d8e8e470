"""Connections, aborted uploads and what an address takes: nobody's request may hold the server, and each gets a sentence."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message

from bnlens.web.connections import Connection, PatientBody
from bnlens.web.labs.lab import LABS

PAGES = (
    "/",
    "/paper",
    "/findings",
    "/network",
    "/claims",
    "/claims/D1",
    "/claims/L3",
    "/labs",
    "/derivation",
    "/discussion",
)
WAIT = 300.0  # seconds; nothing takes so long


class Hasty(Connection):
    patience = 0.05


@pytest.fixture
def port(app: FastAPI) -> Iterator[int]:
    """Of a server that loses its patience at once."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=Hasty, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"GET"])
def test_a_connection_without_a_whole_request_is_closed(port: int, sent: bytes):
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_a_connection_is_kept_while_it_is_answered(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        connection.sendall(
            f"GET /api/labs/gap HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"state"' in answer


def post(app: Any, path: str, length: int, messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Send a form in these messages, after which nothing comes; return what was answered, and what was not asked for."""
    headers = {
        "host": "127.0.0.1:8765",
        "content-length": str(length),
        "content-type": "multipart/form-data; boundary=b",
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http",
        "server": ("127.0.0.1", 8765),
        "client": ("127.0.0.1", 1),
    }
    left, answers = list(messages), []

    async def receive() -> Message:
        return left.pop(0) if left else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        answers.append(message)

    asyncio.run(app(scope, receive, send))
    return answers, left


HALF = {"type": "http.request", "body": b'--b\r\nContent-Disposition: form-data; name="file"', "more_body": True}


@pytest.mark.parametrize("path", ["/network/send", "/labs/network/send", "/discussion"])
@pytest.mark.parametrize("end", ["left", "silent"])
def test_an_upload_that_is_broken_off_is_one_line(app: FastAPI, caplog: pytest.LogCaptureFixture, path: str, end: str):
    told = PatientBody(app, patience=0.05)
    with caplog.at_level(logging.INFO):
        answers, _ = post(told, path, 10_000, [HALF, *([{"type": "http.disconnect"}] if end == "left" else [])])
    assert answers[0]["status"] == 499
    lines = [record for record in caplog.records if record.name != "asyncio"]
    assert [record.getMessage() for record in lines] == [f"POST {path} was broken off by the reader"]
    assert lines[0].exc_info is None


@pytest.mark.parametrize("path", ["/network/send", "/labs/network/send"])
def test_an_upload_of_49_mib_is_refused_before_it_is_read(app: FastAPI, path: str):
    answers, left = post(app, path, 49 * 2**20, [HALF])
    assert (answers[0]["status"], left) == (413, [HALF])


@pytest.mark.parametrize("path", [*PAGES, "/api/claims", "/nothing"])
def test_head_is_answered_as_get_is(client: TestClient, path: str):
    found, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (found.status_code, b"")
    assert head.headers["content-type"] == found.headers["content-type"]


@pytest.mark.parametrize("path", [*PAGES, "/api/claims", *(f"/labs/{lab.id}" for lab in LABS)])
def test_an_unknown_query_key_is_refused_everywhere(client: TestClient, path: str):
    found = client.get(path, params={"nonsense": "<b>"})
    assert found.status_code == 422
    assert "has no parameter" in found.text
    assert "nonsense" in found.text


def test_a_slip_in_a_query_key_is_named(client: TestClient):
    assert "did you mean search" in client.get("/claims?serach=D1").text
    assert "did you mean batch_size" in client.get("/labs/gap?batch_sise=8").text


def test_json_is_given_where_it_is_asked_for_or_said_not_to_be(client: TestClient):
    asked = {"headers": {"Accept": "application/json"}}
    for path in ("/paper", "/findings", "/claims", "/claims/D1", "/network", "/labs/gap?batch_size=8"):
        found = client.get(path, **asked)
        assert found.json() == client.get(f"/api{path}").json()
    for path, status in {"/discussion": 406, "/derivation/A": 406, "/": 406, "/nothing": 404}.items():
        found = client.get(path, **asked)
        assert (found.status_code, list(found.json())) == (status, ["error"])
    browser = {"Accept": "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"}
    assert client.get("/claims", headers=browser).headers["content-type"].startswith("text/html")


def test_files_with_other_content_have_other_names(client: TestClient):
    def name(path: str) -> str:
        return client.get(path).headers["content-disposition"].partition('filename="')[2].rstrip('"')

    first, second = name("/api/labs/gap.csv?unit=relu"), name("/api/labs/gap.csv?unit=linear")
    assert first != second
    assert first == name("/api/labs/gap.csv?unit=relu")
    assert first.startswith("bnlens-gap-")
    assert first.endswith(".csv")


@pytest.mark.parametrize("path", PAGES)
def test_plus_minus_is_one_sign(client: TestClient, path: str):
    assert "+-" not in client.get(path).text
