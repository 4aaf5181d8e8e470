"""Results stored under an earlier name or code version of a function count where a table says that it computes the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnlens.runs import Job, compute, earlier, earlier_names, is_current, read_records
from bnlens.runs.key import code_version, key_of
from bnlens.runs.store import Record, Store

OLD, OLD_CODE = "bnlens.gone:square", "0" * 64


def square(x: int, kind: str) -> dict[str, Any]:
    return {"square": x * x}


JOB = Job("two", square, {"x": 2, "kind": "plain"})


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A result under the earlier name, which the table leads to; its value tells it from one computed now."""
    entry = earlier._Entry(JOB.function_name, code_version(square), [[OLD, OLD_CODE]], {"kind": "plain"})
    monkeypatch.setattr(earlier, "entries", lambda: [entry])
    record = Record(
        key_of(OLD, JOB.config, OLD_CODE),
        "D1",
        "deux",
        OLD,
        JOB.config,
        OLD_CODE,
        "done",
        1.0,
        "s",
        "f",
        {"square": -4},
    )
    with Store(tmp_path / "runs.sqlite") as store:
        store.put(record)
    return record


def test_an_earlier_result_is_found_and_not_computed_again(stored: Record, tmp_path: Path) -> None:
    (done,) = compute([("D2", JOB)], folder=tmp_path, workers=1)
    assert not done.is_new
    assert done.record == replace(stored, claim="D2", job="two")
    assert read_records(tmp_path / "runs.sqlite") == [stored]
    assert earlier_names(JOB) == [OLD]
    assert is_current(stored)


def test_another_configuration_is_computed(stored: Record, tmp_path: Path) -> None:
    (done,) = compute([("D2", replace(JOB, config={"x": 3, "kind": "plain"}))], folder=tmp_path, workers=1)
    assert done.is_new
    assert done.record.result == {"square": 9}
    assert not is_current(replace(stored, config={"x": 2, "kind": "other"}))


def test_a_line_for_other_code_counts_for_nothing(
    stored: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (entry,) = earlier.entries()
    monkeypatch.setattr(earlier, "entries", lambda: [entry._replace(code="1" * 64)])
    (done,) = compute([("D2", JOB)], folder=tmp_path, workers=1)
    assert done.is_new
    assert not is_current(stored)
