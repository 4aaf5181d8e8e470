import io
import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from cli_runs import assert_one_sentence, bnlens, toy_bnlens

from bnlens.cli.runs import _columns_that_fit
from bnlens.errors import UsageError
from bnlens.runs import records_frame
from bnlens.runs.store import Record, Store, run_lock


def runs(tmp_path: Path, *arguments: object, answer: str = "") -> subprocess.CompletedProcess[str]:
    return toy_bnlens(tmp_path / "m", "runs", *arguments, "--out", out(tmp_path), answer=answer)


def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduced")
    done = toy_bnlens(folder / "m", "reproduce", "T1", "T3", "--out", out(folder), "--jobs", 2)
    assert done.returncode == 1
    return folder


@pytest.fixture
def stored(reproduced: Path, tmp_path: Path) -> Path:
    """A folder in which T1 (6 jobs) was run, and T3, one of whose 2 jobs fails."""
    return shutil.copytree(reproduced, tmp_path, dirs_exist_ok=True)


def test_list_shows_each_job_once(stored: Path) -> None:
    done = runs(stored, "list")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("8 jobs, 1 of them failed")
    assert sum("square-" in line for line in done.stdout.splitlines()) == 7
    jobs = json.loads(runs(stored, "list", "--json", "--claim", "t3").stdout)["jobs"]
    found = sorted((job["job"], job["status"], job["stale"]) for job in jobs)
    assert found == [("bad", "failed", False), ("square-0", "done", False)]
    assert len(json.loads(runs(stored, "list", "--json", "--status", "done").stdout)["jobs"]) == 7


def test_show_prints_a_job_by_name_or_key(stored: Path) -> None:
    one = json.loads(runs(stored, "show", "square-4").stdout)
    assert one["result"]["square"] == 16
    assert one["config"]["seed"] == 4
    assert json.loads(runs(stored, "show", one["key"][:8]).stdout) == one
    bad = json.loads(runs(stored, "show", "bad").stdout)
    assert bad["error"] == "ValueError: the matrix is singular"
    assert "Traceback" in bad["traceback"]
    assert_one_sentence(runs(stored, "show", "square-0"), "2 stored jobs fit 'square-0'; give the key of one (T")
    assert_one_sentence(runs(stored, "show", "sqare-4"), "there is no stored job 'sqare-4'; did you mean 'square-4'?")


def test_export_is_read_back(stored: Path) -> None:
    table = pd.read_csv(io.StringIO(runs(stored, "export", "--claim", "T1").stdout))
    assert sorted(table["result.square"]) == [0, 1, 4, 9, 16, 25]
    assert list(table["config.x"] ** 2) == list(table["result.square"])
    for ending, read in (("json", pd.read_json), ("parquet", pd.read_parquet), ("csv", pd.read_csv)):
        file = stored / f"table.{ending}"
        assert runs(stored, "export", "--file", file).returncode == 0
        assert len(read(file)) == 8
    assert_one_sentence(runs(stored, "export", "--file", stored / "table.xls"), "cannot tell the format")
    assert_one_sentence(runs(stored, "export", "--format", "parquet"), "say where to write it with --file FILE")
    assert_one_sentence(runs(stored, "export", "--series", "curve"), "no result has a series 'curve'", "there is none")


def test_parquet_holds_columns_of_mixed_values(stored: Path) -> None:
    with Store(out(stored) / "runs.sqlite") as store:
        for index, size in enumerate((8, "inf")):
            one = store.records()[index]
            store.put(Record(**{**vars(one), "key": f"k{index}", "config": {"M": size, "seed": 0}}))
    file = stored / "table.parquet"
    assert runs(stored, "export", "--file", file).returncode == 0
    assert set(pd.read_parquet(file)["config.M"].dropna()) == {"8", "inf"}


def test_remove_asks_and_says_what_it_removed(stored: Path) -> None:
    assert_one_sentence(runs(stored, "remove"), "say what to remove")
    assert "Nothing was removed." in runs(stored, "remove", "--all", answer="n\n").stdout
    silent = runs(stored, "remove", "--all")  # nobody is there to answer
    assert (silent.returncode, silent.stderr) == (2, "Error: there is no terminal to answer at; give --yes\n")
    assert "Removed 1 stored jobs" in runs(stored, "remove", "--status", "failed", answer="y\n").stdout
    assert "No stored job fits" in runs(stored, "remove", "--stale", "--yes").stdout
    assert "Removed 7 stored jobs" in runs(stored, "remove", "--all", "--yes").stdout
    assert "0 jobs, 0 of them failed" in runs(stored, "list").stdout
    again = toy_bnlens(stored / "m", "reproduce", "T1", "--out", out(stored))
    assert "6 of 6 jobs to compute" in again.stderr


def test_remove_leaves_a_folder_alone_that_a_run_writes_to(stored: Path) -> None:
    with run_lock(out(stored)):
        assert_one_sentence(runs(stored, "remove", "--all", "--yes"), "another run is writing to")
    with Store(out(stored) / "runs.sqlite") as store:
        assert len(store.records()) == 8


def test_older_code_is_marked_and_removed(stored: Path) -> None:
    with Store(out(stored) / "runs.sqlite") as store:
        old = next(record for record in store.records() if record.job == "square-3")
        store.put(Record(**{**vars(old), "code": "0" * 64}))
    jobs = json.loads(runs(stored, "list", "--json").stdout)["jobs"]
    assert [job["job"] for job in jobs if job["stale"]] == ["square-3"]
    assert "Removed 1 stored jobs" in runs(stored, "remove", "--stale", "--yes").stdout


def test_without_results_there_is_one_sentence(tmp_path: Path) -> None:
    for verb in (["list"], ["show", "x"], ["export"], ["remove", "--all", "--yes"]):
        assert_one_sentence(bnlens("runs", *verb, "--out", tmp_path), "holds no results")
    assert list(tmp_path.iterdir()) == []


def test_a_series_is_one_row_per_entry() -> None:
    face = {"key": "k", "claim": "T", "job": "j", "function": "m:f", "code": "c", "status": "done"}
    times = {"seconds": 1.0, "started": "s", "finished": "f"}
    result = {"loss": 0.5, "curve": [{"epoch": 1, "at": {"lr": 0.1}}, {"epoch": 2, "at": {"lr": 0.2}}], "gamma": [1, 2]}
    record = Record(**face, **times, config={"seed": 3}, result=result)
    table = records_frame([record], series="curve")
    columns = table[["config.seed", "index", "curve.epoch", "curve.at.lr"]]
    assert columns.to_numpy().tolist() == [[3, 0, 1, 0.1], [3, 1, 2, 0.2]]
    assert records_frame([record])["result.gamma"].tolist() == ["[1, 2]"]
    with pytest.raises(UsageError, match="no result has a series 'gamma'; use one of curve"):
        records_frame([record], series="gamma")


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (140, ["key", "claim", "job", "status", "seconds", "finished", "code"]),
        (90, ["key", "claim", "job", "status", "seconds", "code"]),
        (60, ["key", "job", "status"]),
        (30, ["key", "job"]),
    ],
)
def test_the_name_of_a_job_is_shown_before_all_else(width: int, shown: list[str]) -> None:
    cell = {"key": "0123456789", "claim": "E1", "job": "cnn-1000-epochs20-batch256-M16-seed0", "status": "done"}
    cell |= {"seconds": "12.3", "finished": "2026-01-01T00:00", "code": "current"}
    assert _columns_that_fit([cell], width) == shown
    assert _columns_that_fit([], width) == list(cell)
