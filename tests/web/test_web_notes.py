"""The local notes: forms, file, limits, what is refused, and the export."""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from fastapi import FastAPI
from httpx import Response
from starlette.testclient import TestClient

from bnlens.errors import StoreError, UsageError
from bnlens.web import create_app, export
from bnlens.web.errors import NotFoundError
from bnlens.web.labs.lab import Lab
from bnlens.web.notes.store import MAX_TEXT, Notes
from web.markup import Page
from web.readers import URL


class Reader:
    """Sends forms as a browser without scripts does."""

    def __init__(self, app: FastAPI) -> None:
        self.client = TestClient(app, base_url=URL)
        self.get, self.post = self.client.get, partial(self.client.post, follow_redirects=False)

    def page(self, address: str = "/discussion") -> Page:
        response = self.get(address)
        assert response.status_code == 200, response.text
        return Page(response.text)

    def send(self, address: str, form: str = "note-form", **values: str):
        """Open a page, fill in its form and send it; what is None is left out."""
        page = self.page(address)
        [opened] = page.find("form", data_testid=form)
        inputs = [found.attributes for found in page.find("input") if found.is_in(data_testid=form)]
        fields = {found["name"]: found.get("value", "") for found in inputs}
        for area in page.find("textarea"):
            fields[area.attributes["name"]] = area.text.removeprefix("\n")
        for option in page.find("option"):
            if "selected" in option.attributes:
                fields["subject"] = option.attributes["value"]
        return self.post(opened.attributes["action"], data={**fields, **values})

    def write(self, text: str, **values: str) -> str:
        response = self.send("/discussion", text=text, **values)
        assert response.status_code == 303, response.text
        return response.headers["location"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def app(place: Path) -> FastAPI:
    app = create_app(place)
    app.state.site.notes = Notes(place, wait=0.2)
    return app


@pytest.fixture
def reader(app: FastAPI) -> Reader:
    return Reader(app)


def texts(page: Page) -> list[str]:
    return [found.text.strip() for found in page.find(data_testid="written")]


def refused(response: Response, status: int, sentence: str, typed: str = "typed") -> Page:
    """The page of a form that is refused with a sentence and shows what was typed."""
    page = Page(response.text)
    assert response.status_code == status
    assert sentence in page.one(data_testid="problem").text
    assert page.one("textarea").text == f"\n{typed}"
    return page


def test_a_folder_is_made_with_the_first_note(reader: Reader, place: Path):
    assert "no notes yet" in reader.page().one(data_testid="empty").text
    for address in ("/paper", "/claims/D1", "/discussion?subject=D1", "/api/notes"):
        assert reader.get(address).status_code == 200
    assert reader.get("/discussion/1/edit").status_code == 404
    assert reader.send("/discussion", text="").status_code == 422
    assert not place.exists()
    reader.write("first")
    assert (place / "notes.sqlite").is_file()


def test_a_note_is_written_changed_and_deleted_by_forms(reader: Reader):
    assert reader.write("**One**", subject="") == "/discussion?subject=#note-1"
    assert reader.write("Two", subject="d1") == "/discussion?subject=D1#note-2"
    page = reader.page()
    assert texts(page) == ["One", "Two"]
    assert [found.text for found in page.find("strong")] == ["One"]
    changed = reader.send("/discussion/1/edit", text="Changed", subject="D1")
    assert changed.headers["location"] == "/discussion?subject=D1#note-1"
    page = reader.page()
    assert texts(page) == ["Changed", "Two"]
    assert len(page.find("time")) == 3  # the first note shows when it was changed
    question = page.one("form", data_testid="delete-1")
    assert "details" in [outer.tag for outer in question.inside]  # asks first, folded
    assert reader.send("/discussion", "delete-1").headers["location"] == "/discussion?subject=D1"
    assert texts(reader.page()) == ["Two"]
    assert reader.write("Three").endswith("#note-3")  # an id is never given twice


def test_the_form_to_change_a_note_shows_what_is_stored(reader: Reader):
    text = '    code first\n\n<b>&amp; "quoted"\n\ttab\n\n- end'
    reader.write(f"\r\n\r\n{text}\r\n".replace("\n", "\r\n").replace("\r\r", "\r"), subject="G1")
    page = reader.page("/discussion/1/edit")
    assert page.one("textarea").text.removeprefix("\n") == text
    assert [option.attributes["value"] for option in page.find("option") if "selected" in option.attributes] == ["G1"]
    assert reader.get("/api/notes").json()[0]["text"] == text


def test_notes_are_listed_by_subject_and_counted_on_its_page(reader: Reader):
    for number, subject in enumerate(["D1", "", "D1", "G1"]):
        reader.write(f"note {number}", subject=subject)
    assert texts(reader.page("/discussion?subject=D1")) == ["note 0", "note 2"]
    assert texts(reader.page("/discussion?subject=d1")) == ["note 0", "note 2"]
    assert texts(reader.page("/discussion?subject=")) == ["note 1"]
    assert texts(reader.page("/discussion?subject=L1")) == []
    assert "on L1 yet" in reader.page("/discussion?subject=L1").one(data_testid="empty").text
    assert reader.get("/discussion?subject=Q9").status_code == 404
    links = {path: reader.page(path).one(data_testid="notes-link") for path in ("/claims/D1", "/paper", "/claims/L1")}
    assert [link.text for link in links.values()] == ["2 notes", "1 note", "Write a note"]
    assert len(texts(reader.page(links["/claims/D1"].attributes["href"]))) == 2
    shown = [found.text for found in reader.page().find("a") if found.is_in(data_testid="subjects")]
    assert shown == ["All (4)", "The paper (1)", "D1 (2)", "G1 (1)"]


def test_two_servers_on_one_folder_lose_nothing(place: Path):
    readers = [Reader(create_app(place)) for _ in range(2)]
    for reader in readers:
        reader.page()  # routes are built with the first request, which two threads of one process must not do at once
    barrier = Barrier(2)  # both make the file at once

    def write(index: int) -> None:
        barrier.wait()
        for number in range(20):
            readers[index].write(f"{index}-{number}")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range(2)))
    notes = [reader.get("/api/notes").json() for reader in readers]
    assert notes[0] == notes[1]
    assert sorted(note["text"] for note in notes[0]) == sorted(f"{i}-{n}" for i in range(2) for n in range(20))
    assert [note["id"] for note in notes[0]] == list(range(1, 41))


def test_many_writers_may_make_the_file_at_once(tmp_path: Path):
    for attempt in range(5):
        barrier = Barrier(6)

        def write(number: int, folder: Path = tmp_path / str(attempt), barrier: Barrier = barrier) -> int:
            notes = Notes(folder)
            barrier.wait()
            return notes.add(f"note {number}").id

        with ThreadPoolExecutor(6) as threads:
            assert sorted(threads.map(write, range(6))) == list(range(1, 7))


def test_a_note_deleted_meanwhile_can_be_kept_as_a_new_one(reader: Reader, app: FastAPI):
    reader.write("original")
    app.state.site.notes.remove(1)
    page = refused(reader.post("/discussion/1/edit", data={"text": "mine", "subject": "D1"}), 422, "deleted", "mine")
    assert page.one("form").attributes["action"] == "/discussion"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"text": ""}, "empty"),
        ({"text": " \r\n\t\x07 "}, "empty"),
        ({"text": "é" * (MAX_TEXT + 1)}, "20,001 characters"),
        ({"text": "kept", "subject": "Q9"}, "no claim 'Q9'"),
    ],
)
@pytest.mark.parametrize("address", ["/discussion", "/discussion/1/edit"])
def test_a_form_that_is_refused_keeps_what_was_typed(
    reader: Reader, address: str, values: dict[str, str], sentence: str
):
    reader.write("original")
    response = reader.send(address, **values)
    assert response.status_code == 422
    page = Page(response.text)
    assert sentence in page.one(data_testid="problem").text
    assert page.one("textarea").text.removeprefix("\n").replace("\r", "") == values["text"].replace("\r", "")
    assert page.one("form").attributes["action"] == address
    assert [note["text"] for note in reader.get("/api/notes").json()] == ["original"]


def test_the_longest_note_is_taken_in_any_writing(reader: Reader):
    reader.write("\U0001f600" * MAX_TEXT)
    reader.write("\r\n".join("a" * (MAX_TEXT // 2)))  # line ends count once
    assert len(reader.get("/api/notes").json()[0]["text"]) == MAX_TEXT


def test_forms_that_are_too_large_are_refused_unread(reader: Reader):
    assert reader.post("/discussion", data={"text": "a" * 2**20}).status_code == 413
    assert reader.post("/discussion", content=iter([b"text=a"])).status_code == 413
    many = {f"field{number}": "x" for number in range(100)}
    assert 400 <= reader.post("/discussion", data={"text": "a", **many}).status_code < 500
    assert 400 <= reader.post("/discussion", files={"text": ("a.txt", b"a", "text/plain")}).status_code < 500
    assert reader.get("/api/notes").json() == []


def spoil(path: Path, how: str) -> None:
    if how == "no database":
        path.write_bytes(b"these are no notes " * 100)
    elif how == "damaged page":
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xa5" * (len(content) - 4096)
        path.write_bytes(bytes(content))
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        with sqlite3.connect(path) as connection:
            if how == "newer":
                connection.execute("PRAGMA user_version = 2")
            elif how == "other tables":
                connection.execute("DROP TABLE notes")
                connection.execute("CREATE TABLE notes (something)")
            else:
                connection.execute("UPDATE notes SET text = CAST(x'ff61' AS TEXT)")
        connection.close()


@pytest.mark.parametrize(
    "how", ["no database", "damaged page", "cut short", "a folder", "newer", "other tables", "no text"]
)
def test_pages_open_and_say_that_the_file_is_damaged(reader: Reader, place: Path, how: str):
    for number in range(3):
        reader.write(f"note {number} " + "x" * 3000)
    spoil(place / "notes.sqlite", how)
    page = reader.page()
    assert "notes.sqlite" in page.one(data_testid="problem").text
    assert page.find(data_testid="note-form") == []
    for path in ("/paper", "/claims/D1"):
        assert reader.page(path).one(data_testid="notes-link").text
    for path in ("/api/notes", "/api/notes.md", "/discussion/1/edit"):
        assert reader.get(path).status_code == 422
    form = {"text": "typed", "subject": ""}
    changed = refused(reader.post("/discussion/1/edit", data=form), 422, "notes.sqlite")
    assert changed.one("form").attributes["action"] == "/discussion/1/edit"
    if how != "no text":  # of one note; others can still be written then
        refused(reader.post("/discussion", data=form), 422, "notes.sqlite")


def test_a_database_of_another_program_is_left_alone(reader: Reader, place: Path):
    place.mkdir()
    with sqlite3.connect(place / "notes.sqlite") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (place / "notes.sqlite").read_bytes()
    assert texts(reader.page()) == []
    refused(reader.send("/discussion", text="typed"), 422, "another program")
    assert (place / "notes.sqlite").read_bytes() == before


def test_a_file_that_cannot_be_written_is_read_and_nothing_typed_is_lost(reader: Reader, place: Path):
    reader.write("original")
    with (place / "notes.sqlite").open("r+b") as file:
        file.seek(18)  # the header's "write version": SQLite opens a file of an unknown one for reading only
        file.write(b"\x03")
    for address in ("/discussion", "/discussion/1/edit"):
        refused(reader.send(address, text="typed"), 422, "readonly")
    assert reader.send("/discussion", "delete-1").status_code == 422
    assert texts(reader.page()) == ["original"]


def test_a_file_that_is_being_written_is_read_and_nothing_typed_is_lost(reader: Reader, place: Path):
    reader.write("original")
    other = sqlite3.connect(place / "notes.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert texts(reader.page()) == ["original"]
    refused(reader.send("/discussion", text="typed"), 422, "locked")
    other.execute("ROLLBACK")
    other.close()
    reader.write("typed")


def test_a_file_that_another_program_holds(reader: Reader, place: Path):
    reader.write("original")
    other = sqlite3.connect(place / "notes.sqlite", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE notes SET text = 'theirs'")
    other.execute("COMMIT")
    assert "another program holds it" in reader.page().one(data_testid="problem").text
    assert reader.get("/claims/D1").status_code == 200
    other.close()
    assert texts(reader.page()) == ["theirs"]


def test_what_the_store_refuses(tmp_path: Path):
    notes = Notes(tmp_path)
    for text in ("", " \n\x07", "a" * (MAX_TEXT + 1)):
        with pytest.raises(UsageError):
            notes.add(text)
    assert list(tmp_path.iterdir()) == []
    assert notes.add("a\ud800\x07b").text == "ab"
    for act in (notes.get, notes.remove, partial(notes.change, text="x")):
        with pytest.raises(NotFoundError):
            act(7)
    with pytest.raises(StoreError, match="cannot write"):
        Notes(tmp_path / "notes.sqlite").add("x")


# As the version before wrote it, with authors and versions.
BEFORE = """
CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL CHECK (typeof(subject) = 'text'),
    author TEXT NOT NULL CHECK (typeof(author) = 'text'),
    text TEXT NOT NULL CHECK (typeof(text) = 'text'),
    created TEXT NOT NULL CHECK (typeof(created) = 'text'),
    edited TEXT CHECK (typeof(edited) IN ('text', 'null')),
    version INTEGER NOT NULL CHECK (typeof(version) = 'integer')
);
INSERT INTO notes VALUES (1, 'D1', 'Ada', 'first', '2026-01-02T03:04:05+00:00', NULL, 1);
INSERT INTO notes VALUES (4, '', '', 'second', '2026-01-03T03:04:05+00:00', '2026-01-04T03:04:05+00:00', 7);
PRAGMA user_version = 1;
"""


def test_notes_of_the_version_before_are_shown_and_changed(reader: Reader, place: Path):
    place.mkdir()
    with contextlib.closing(sqlite3.connect(place / "notes.sqlite")) as connection:
        connection.executescript(BEFORE)
    page = reader.page()
    assert texts(page) == ["first", "second"]
    assert "Ada" in page.one(data_testid="note-1").text
    assert reader.send("/discussion/4/edit", text="changed").status_code == 303
    assert reader.write("new").endswith("#note-5")
    assert texts(reader.page()) == ["first", "changed", "new"]
    assert texts(reader.page("/discussion?subject=D1")) == ["first"]


def test_notes_can_be_taken_away(reader: Reader):
    reader.write("**One** $x$", subject="D1")
    reader.write("Two")
    page = reader.page()
    links = [page.one("a", data_testid=f"notes-{kind}").attributes["href"] for kind in ("md", "json")]
    text, data = reader.get(links[0]), reader.get(links[1]).json()
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert re.findall(r"^<!-- note (\d) on ([^,]+), .*-->\n\n(.*)\n$", text.text, re.MULTILINE) == [
        ("1", "D1", "**One** $x$"),
        ("2", "the paper", "Two"),
    ]
    assert [(note["id"], note["subject"], note["text"]) for note in data] == [(1, "D1", "**One** $x$"), (2, "", "Two")]


@pytest.fixture
def exported(reader: Reader, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for subject in ("", "D1", "D1"):
        reader.write(f"on {subject or 'paper'} [D1](/claims/D1) [edit](/discussion/1/edit)", subject=subject)
    monkeypatch.setattr(Lab, "exported", lambda lab: [])  # labs are exported in another test
    export.export_site(place, tmp_path / "site")
    return tmp_path / "site"


def test_the_export_has_the_notes_and_no_way_to_change_them(exported: Path):
    page = Page((exported / "discussion" / "index.html").read_text())
    assert len(texts(page)) == 3
    [only] = list((exported / "discussion").glob("subject-D1*.html"))
    assert len(texts(Page(only.read_text()))) == 2
    pages = list(exported.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        page = Page(path.read_text())
        assert page.find("form", method="post") == [], path
        assert page.find("textarea") == [], path
        assert not any(re.search(r"/(edit|delete)\b", link.attributes.get("href", "")) for link in page.find("a")), path
    links = {name: Page((exported / "claims" / name / "index.html").read_text()) for name in ("D1", "L1")}
    [link] = links["D1"].find("a", data_testid="notes-link")
    assert (exported / "claims" / "D1" / link.attributes["href"].replace("%20", " ")).resolve() == only.resolve()
    assert links["L1"].find("a", data_testid="notes-link") == []
    assert all((exported / "api" / name).is_file() for name in ("notes.json", "notes.md"))


def test_the_export_goes_on_where_the_notes_are_damaged(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place.mkdir()
    (place / "notes.sqlite").write_bytes(b"these are no notes " * 100)
    monkeypatch.setattr(Lab, "exported", lambda lab: [])
    export.export_site(place, tmp_path / "site")
    page = Page((tmp_path / "site" / "discussion" / "index.html").read_text())
    assert "is damaged" in page.one(data_testid="problem").text
