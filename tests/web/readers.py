"""What a reader's browser does with the forms of a page."""

from typing import Any

from httpx import Response
from starlette.testclient import TestClient

URL = "http://127.0.0.1"


def send_file(client: TestClient, path: str, content: bytes, name: str = "file.json", **options: Any) -> Response:
    """Post a file by a page's form."""
    files = {"file": (name, content, "application/json")}
    return client.post(path, files=files, **options)
