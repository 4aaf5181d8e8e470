"""What a reader's browser does with the forms of a page."""

from typing import Any

from httpx import Response
from starlette.testclient import TestClient

URL = "http://127.0.0.1"


def send_file(client: TestClient, path: str, content: bytes, name: str = "file.json", **options: Any) -> Response:
    """Post a file by a page's form."""
    files = {"file": (name, content, "application/json")}
    return client.post(path, files=files, **options)


def start(client: TestClient, claim: str) -> Response:
    """Start a run by the API."""
    return client.post("/api/runs", json={"claim": claim})


def cancel(client: TestClient) -> Response:
    """Cancel the run by the API."""
    return client.delete("/api/runs/current")


def events(text: str) -> list[str]:
    """The data of server-sent events."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(len(block) == 2 and block[0] == "event: run" and block[1].startswith("data: ") for block in blocks), text
    return [block[1].removeprefix("data: ") for block in blocks]
