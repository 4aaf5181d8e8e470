"""The JSON API of the local notes."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bnlens.web import create_app
from bnlens.web.notes.store import MAX_AUTHOR, MAX_ID, MAX_TEXT
from bnlens.web.security import MAX_BODY
from web.readers import URL


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(create_app(tmp_path / "out"), base_url=URL)


def write(client: TestClient, text: str = "text", **values: Any) -> dict[str, Any]:
    response = client.post("/api/notes", json={"text": text, **values})
    assert response.status_code == 201, response.text
    return dict(response.json())


def test_a_note_is_written_read_changed_and_deleted(client: TestClient):
    note = write(client, "**a**\r\nb", author="Ada", subject="d1")
    stored = {"id": 1, "subject": "D1", "author": "Ada", "text": "**a**\nb", "edited": None, "version": 1}
    assert note == {**stored, "created": note["created"], "page": "/discussion?subject=D1&before=2#note-1"}
    assert note["created"].endswith("+00:00")
    assert client.get("/api/notes/1").json() == note
    changed = client.put("/api/notes/1", json={"text": "c", "version": 1}).json()
    assert (changed["text"], changed["author"], changed["subject"], changed["version"]) == ("c", "", "", 2)
    assert changed["created"] == note["created"]
    assert changed["edited"] >= note["created"]
    assert client.get("/api/notes").json() == [changed]
    assert client.delete("/api/notes/1").json() == changed
    assert client.get("/api/notes").json() == []
    gone = client.put("/api/notes/1", json={"text": "c", "version": 2})
    for response in (client.get("/api/notes/1"), client.delete("/api/notes/1"), gone):
        assert response.status_code == 404
        assert "no note 1" in response.json()["error"]


def test_notes_are_listed_newest_last(client: TestClient):
    for number, subject in enumerate(["", "D1", "", "D1"]):
        write(client, str(number), subject=subject)

    def found(**query: str) -> list[str]:
        return [note["text"] for note in client.get("/api/notes", params=query).json()]

    assert found() == ["0", "1", "2", "3"]
    assert found(subject="") == ["0", "2"]
    assert found(subject="d1") == ["1", "3"]
    assert found(limit="2") == ["2", "3"]
    assert found(limit="2", before="3") == ["0", "1"]
    assert client.get("/api/notes?subject=Q9").status_code == 404


def test_a_change_of_another_version_is_refused(client: TestClient):
    write(client)
    assert client.put("/api/notes/1", json={"text": "first", "version": 1}).status_code == 200
    changed = client.put("/api/notes/1", json={"text": "second", "version": 1})
    for response in (changed, client.delete("/api/notes/1", params={"version": 1})):
        assert response.status_code == 409
        assert "meanwhile" in response.json()["error"]
    assert client.get("/api/notes/1").json()["text"] == "first"
    assert client.delete("/api/notes/1", params={"version": 2}).status_code == 200


INVALID: list[Any] = [
    *({"text": text} for text in ("", " \n", None, 1, "x" * (MAX_TEXT + 1), "\ud800")),
    *({"text": "x", "author": author} for author in ("a" * (MAX_AUTHOR + 1), None)),
    *({"text": "x", **more} for more in ({"subject": 1}, {"subject": "x" * 21}, {"id": 1})),
    *({}, [], "text", None),
]


@pytest.mark.parametrize("body", INVALID)
def test_bodies_that_cannot_be_are_refused(client: TestClient, body: Any):
    headers = {"Content-Type": "application/json"}
    write(client, "original")
    assert client.post("/api/notes", content=json.dumps(body), headers=headers).status_code == 422
    changed = {**body, "version": 1} if isinstance(body, dict) else body
    response = client.put("/api/notes/1", content=json.dumps(changed), headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]
    assert [note["text"] for note in client.get("/api/notes").json()] == ["original"]


def test_versions_and_subjects_that_cannot_be_are_refused(client: TestClient):
    write(client, "original")
    for version in ({}, *({"version": value} for value in (None, 0, -1, 1.5, "x", 2**70))):
        assert client.put("/api/notes/1", json={"text": "x", **version}).status_code == 422
    assert client.post("/api/notes", json={"text": "x", "subject": "Q9"}).status_code == 404
    assert client.put("/api/notes/1", json={"text": "x", "subject": "Q9", "version": 1}).status_code == 404


@pytest.mark.parametrize("note_id", ["0", "-1", "x", "1.5", str(MAX_ID + 1), "9" * 400])
def test_ids_that_cannot_be_are_refused(client: TestClient, note_id: str):
    assert client.get(f"/api/notes/{note_id}").status_code == 422
    assert client.delete(f"/api/notes/{note_id}").status_code == 422
    assert client.get("/api/notes", params={"before": note_id}).status_code == 422
    assert client.get(f"/api/notes/{MAX_ID}").status_code == 404  # the largest one is only missing


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 500_000, b'{"text":' * 100_000, b'{"text": "' + b"x" * MAX_BODY + b'"}'],
    ids=["empty", "cut", "no text", "deep list", "deep object", "large"],
)
@pytest.mark.parametrize("order", ["POST /api/notes", "PUT /api/notes/1", "POST /api/runs"])
def test_broken_deep_and_large_bodies_are_the_senders_fault(client: TestClient, order: str, content: bytes):
    response = client.request(*order.split(), content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in ((413,) if len(content) > MAX_BODY else (400, 422))
    assert response.json()["error"]
    assert client.request(*order.split(), content=iter([b"{}"])).status_code == 413  # of unknown length


def test_the_documentation_has_the_ranges(client: TestClient):
    schema = client.get("/api/openapi.json").json()
    assert set(schema["paths"]["/api/notes"]) == {"get", "post"}
    assert set(schema["paths"]["/api/notes/{note_id}"]) == {"get", "put", "delete"}
    text = schema["components"]["schemas"]["NewNote"]["properties"]["text"]
    assert (text["minLength"], text["maxLength"]) == (1, MAX_TEXT)
    page = client.get("/api/docs").text
    assert "Body of POST /api/notes" in page
    assert "Body of PUT /api/notes/{note_id}" in page
