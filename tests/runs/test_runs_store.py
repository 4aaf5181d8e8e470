import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlens.errors import StoreError
from bnlens.runs.store import SCHEMA_VERSION, Record, Store, run_lock

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
dicts = st.dictionaries(texts, data, max_size=3)
records = st.builds(
    Record,
    **dict.fromkeys(("key", "claim", "job", "function", "code", "started", "finished"), texts),
    **dict.fromkeys(("error", "traceback"), st.none() | texts),
    config=dicts,
    status=st.sampled_from(["done", "failed"]),
    seconds=st.floats(0, 1e9),
    result=st.none() | dicts,
    versions=st.dictionaries(texts, texts, max_size=3),
)


def a_record(**changes: Any) -> Record:
    known: dict[str, Any] = {
        "key": "k", "claim": "D1", "job": "j", "function": "m:f", "config": {"seed": 0}, "code": "c", "status": "done",
        "seconds": 1.0, "started": "s", "finished": "f", "result": {"gap": 0.1},
    }  # fmt: skip
    return Record(**{**known, **changes})


@given(records)
def test_round_trip(record: Record) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.sqlite"
        with Store(path) as store:
            store.put(record)
        with Store(path) as store:
            assert store.get(record.key) == record
            assert store.get(record.key + "x") is None


def test_a_later_record_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.sqlite") as store:
        store.put(a_record(status="failed", result=None, error="no"))
        store.put(a_record())
        assert store.records() == [a_record()]


def test_a_reader_sees_each_result_at_once(tmp_path: Path) -> None:
    with Store(tmp_path / "runs.sqlite") as writer, Store(tmp_path / "runs.sqlite") as reader:
        writer.put(a_record())
        assert reader.get("k") == a_record()


def execute(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:16384] = b"\xa5" * (16384 - 4096)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("count", "spoil", "message"),
    [
        (
            1,
            lambda path: execute(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}"),
            r"newer bnlens .* update bnlens",
        ),
        (0, lambda path: path.write_bytes(b"these are no results " * 100), r"is damaged .* move it away"),
        (300, damage, "is damaged"),
        (0, lambda path: execute(path, "CREATE TABLE bookmarks (address TEXT)"), "another program"),
    ],
    ids=["newer", "no database", "damaged page", "another program's"],
)
def test_a_file_that_cannot_be_used_stays_as_it_is(
    tmp_path: Path, count: int, spoil: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "runs.sqlite"
    if count:
        with Store(path) as store:
            for key in range(count):
                store.put(a_record(key=str(key)))
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        Store(path)
    assert path.read_bytes() == before


def test_a_result_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    with Store(path) as store:
        store.put(a_record())
    execute(path, "UPDATE jobs SET result = '{'")
    with Store(path) as store, pytest.raises(StoreError, match="is damaged"):
        store.get("k")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/bnlens")):
        with pytest.raises(StoreError, match="cannot write"):
            Store(folder / "runs.sqlite")
        with pytest.raises(StoreError, match="cannot write"), run_lock(folder):
            pass
    (tmp_path / "runs.sqlite").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "runs.sqlite")


def test_the_lock_is_held_and_released(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(StoreError, match="another run is writing"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass
