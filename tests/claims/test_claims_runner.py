import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import plotly.graph_objects as go
import pytest
from toy_claims import (
    PATIENCE,
    claim,
    die,
    judge_against_paper,
    leave,
    marks,
    outlive,
    squares,
    toys,
    variable,
    wait_until,
)

from bnlens.claims import ClaimRun, Finding, PaperStatement, Results, reproduce
from bnlens.claims.runner import judge
from bnlens.errors import StoreError, UsageError
from bnlens.runs import Job, read_records
from web.markup import Page

SCRIPT = Path(__file__).with_name("toy_bnlens.py")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "markers"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that half of the jobs wait for; not there yet."""
    return tmp_path / "gate"


def start(marker: Path, gate: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(marker), str(gate), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for_results(out: Path, count: int) -> None:
    wait_until(lambda: len(read_records(out / "runs.sqlite")) >= count)


def kill(process: subprocess.Popen[str], timeout: float | None = None) -> None:
    process.kill()
    process.communicate(timeout=timeout)


def judged(**changes: Any) -> ClaimRun:
    """The run of a claim without jobs, with these changes, whose judge corrects the paper."""
    return judge(
        replace(claim("T1", lambda setup: [], judge_against_paper), figure=lambda results: go.Figure(), **changes), []
    )


def test_only_the_papers_own_statement_corrects_the_paper() -> None:
    own = judged().finding
    assert own is not None
    assert own.corrects_paper == "The paper's factor is twice too large."
    paper = PaperStatement("Squares add up.", "On squares", "abstract", differs="cubes are tested.")
    for other in (None, paper):
        found = judged(paper=other).finding
        assert found is not None
        assert (found.corrects_paper, found.summary) == (None, "It is zero. The paper's factor is twice too large.")


def test_a_premise_is_named_before_the_run() -> None:
    def unmet(results: Results) -> Finding:
        return Finding("premise not met", 0.1, 1.0, 0.2, "There is no effect: 0.1 +- 0.2.")

    assert judged(judge=unmet).errors == ['judging failed: ValueError: agreement has no rule "Premise not met: "']
    agreement = "Premise not met: the effect is below 0.5. Holds: equal."
    run = judged(judge=unmet, agreement=agreement)
    assert run.finding is not None
    assert (run.finding.verdict, run.claim.premise) == ("premise not met", "the effect is below 0.5")


def test_what_is_stored_is_not_computed_again(marker: Path, out: Path) -> None:
    claims = [toys(marker)["T1"]]
    first = reproduce(claims, out=out, workers=2).runs[0]
    second = reproduce(claims, out=out, workers=2).runs[0]
    assert marks(marker) == [f"square {x}" for x in range(6)]
    assert (first.computed, second.computed) == (6, 0)
    assert first.finding == second.finding
    assert first.finding is not None
    assert first.finding.measured == 55.0
    assert second.seconds == first.seconds > 0
    assert reproduce(claims, out=out, workers=1, scale="full").runs[0].computed == 2  # a wider scale has two more
    again = reproduce(claims, out=out, workers=2, again=True).runs[0]
    assert (again.computed, again.finding) == (6, first.finding)
    assert sorted(marks(marker)) == sorted(f"square {x}" for x in (*range(8), *range(6)))


def test_claims_share_a_computation(marker: Path, out: Path) -> None:
    other = claim("T8", lambda setup: [replace(squares(marker, 3)[2], name="four")])
    runs = reproduce([toys(marker)["T1"], other], out=out, workers=2).runs
    assert marks(marker).count("square 2") == 1
    assert [(record.claim, record.job, record.result["square"]) for record in runs[1].records] == [("T8", "four", 4)]
    assert [run.computed for run in runs] == [6, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_job_has_the_same_threads_however_many_run(
    marker: Path, out: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for workers in (1, 2):
        place = out / str(workers)
        run = reproduce([toys(marker)["T1"]], out=place, workers=workers, threads=threads).runs[0]
        assert {record.result["threads"] for record in run.records if record.result} == {str(threads)}
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("own", [None, "4"])
def test_workers_keep_memory_unless_told_otherwise(own: str | None, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if own:
        monkeypatch.setenv("MALLOC_ARENA_MAX", own)
    before = dict(os.environ)
    job = Job("arenas", variable, {"name": "MALLOC_ARENA_MAX"})
    (record,) = reproduce([claim("T8", lambda setup: [job])], out=out, workers=1).runs[0].records
    assert record.result == {"value": own or "1"}
    assert dict(os.environ) == before


def test_failures_take_nothing_else_down(marker: Path, out: Path) -> None:
    runs = reproduce(list(toys(marker).values()), out=out, workers=2).runs
    by_id = {run.claim.id: run for run in runs}
    assert [run.claim.id for run in runs if run.finding] == ["T1", "T2", "T7"]
    assert by_id["T3"].errors == ["job bad failed: ValueError: the matrix is singular"]
    assert by_id["T4"].errors == ["job data failed: data.npz is corrupt; download it again"]
    assert by_id["T6"].errors == ["judging failed: KeyError: 'nothing'"]
    assert "its worker process died" in by_id["T5"].errors[0]
    assert [by_id[name].is_user_error for name in ("T3", "T4", "T5", "T6")] == [False, True, False, False]
    assert sum(record.status == "done" for run in runs for record in run.records) == 6 + 1 + 1 + 0 + 3 + 1 + 1
    report = (out / "report.html").read_text()
    assert "the matrix is singular" in report
    assert "Traceback" not in report


def test_a_failed_job_is_tried_again(marker: Path, out: Path) -> None:
    claims = [toys(marker)["T3"]]
    reproduce(claims, out=out, workers=1)
    assert reproduce(claims, out=out, workers=1).runs[0].computed == 1
    assert marks(marker).count("fail") == 2
    assert marks(marker).count("square 0") == 1


def test_a_job_that_dies_beside_others_gets_a_second_chance(marker: Path, out: Path) -> None:
    at = {"marker": str(marker)}
    jobs = [Job("deadly", die, {**at, "once": True}), Job("beside", outlive, at)]
    run = reproduce([claim("T7", lambda setup: jobs)], out=out, workers=2).runs[0]
    assert run.errors == ()
    assert marks(marker) == ["die", "die", "outlive", "outlive"]


def test_kill_minus_nine_loses_only_what_was_running(marker: Path, out: Path, gate: Path) -> None:
    process = start(marker, gate, "reproduce", "T1", "--out", out, "--jobs", 1)
    wait_for_results(out, 3)
    kill(process)
    assert not (out / "report.html").exists()
    gate.touch()
    run = reproduce([toys(marker, gate)["T1"]], out=out, workers=1).runs[0]
    assert run.computed == 3
    assert run.finding is not None
    assert [marks(marker).count(f"square {x}") for x in (3, 4, 5)] == [1, 1, 1]


def test_no_empty_folder_stays_of_jobs_that_fail(out: Path) -> None:
    def folders(*words: str | None) -> int:
        jobs = [Job(f"leave-{word}", leave, {"words": word}) for word in words]
        assert reproduce([claim("T8", lambda setup: jobs)], out=out, workers=1).runs[0].errors
        return len(list((out / "scratch").glob("*")))

    assert folders(None) == 0
    assert not (out / "scratch").exists()
    assert folders(None, "kept") == 1


def test_a_job_that_is_cut_goes_on_from_its_scratch_folder(marker: Path, out: Path, gate: Path) -> None:
    process = start(marker, gate, "reproduce", "T7", "--out", out, "--jobs", 1)
    wait_until(lambda: marks(marker) == ["count 1", "count 2", "count 3"])
    kill(process)
    (folder,) = (out / "scratch").iterdir()
    assert (folder / "count").read_text() == "3"
    gate.touch()
    run = reproduce([toys(marker, gate)["T7"]], out=out, workers=1).runs[0]
    assert [record.result for record in run.records] == [{"x": 5, "square": 25}]
    assert marks(marker) == [f"count {number}" for number in range(1, 6)]
    assert not (out / "scratch").exists()


def test_workers_end_with_a_killed_parent(marker: Path, out: Path, gate: Path) -> None:
    process = start(marker, gate, "reproduce", "T1", "--out", out, "--jobs", 2)
    wait_for_results(out, 3)
    kill(process, PATIENCE / 2)  # returns when the last process that holds the pipes has gone
    assert not gate.exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(marker: Path, out: Path, gate: Path) -> None:
    process = start(marker, gate, "reproduce", "T1", "--out", out, "--jobs", 2, start_new_session=True)
    wait_for_results(out, 3)
    wait_until(lambda: len(marks(marker)) == 5)  # the last job waits for one of these
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to workers, too
    stdout, stderr = process.communicate(timeout=PATIENCE / 2)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    sentence = f"Interrupted: 3 of 6 jobs are stored in {out}; run the same command again to go on from there."
    assert stderr.endswith(f"{sentence}\n")  # what a job printed last may lack the end of its line
    gate.touch()
    assert reproduce([toys(marker, gate)["T1"]], out=out).runs[0].computed == 3


def test_a_second_run_in_the_same_folder_says_so(marker: Path, out: Path, gate: Path) -> None:
    process = start(marker, gate, "reproduce", "T1", "--out", out, "--jobs", 1)
    wait_for_results(out, 1)
    with pytest.raises(StoreError, match="another run is writing to"):
        reproduce([toys(marker)["T2"]], out=out)
    kill(process)
    assert reproduce([toys(marker)["T2"]], out=out, workers=1).runs[0].finding is not None


def test_nothing_is_computed_when_the_folder_cannot_be_written(marker: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "under", Path("/proc/bnlens")):
        with pytest.raises(StoreError, match="cannot write"):
            reproduce([toys(marker)["T1"]], out=folder)
    assert marks(marker) == []


def test_arguments_that_cannot_work(marker: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        reproduce([toys(marker)["T1"]], out=out, workers=0)
    twice = claim("T8", lambda setup: [*squares(marker, 1), *squares(marker, 1)])
    with pytest.raises(ValueError, match="T8 square-0"):
        reproduce([twice], out=out)
    assert not out.exists()


def test_report_shows_each_claim_and_loads_nothing(marker: Path, out: Path) -> None:
    chosen = toys(marker)
    done = reproduce([chosen["T1"], chosen["T2"]], out=out, workers=1)
    text = done.report.read_text()
    page = Page(text)
    links = [link.attributes for link in page.find("a")]
    loads = [e.attributes.get("href" if e.tag == "link" else "src", "data:") for e in page.elements]
    assert [address for address in loads if not address.startswith("data:")] == []
    inner = {link["href"][1:] for link in links if link["href"].startswith("#")}
    assert {"t1", "t2"} <= inner <= {element.attributes.get("id") for element in page.elements}
    for shown in (
        *("Squares add up &amp; more.", "theory sheet A.2", "Equal.", "The sum is 55.0.", "55.00 ± 0.50"),
        *("does not hold here", "The paper&#x27;s factor is twice too large.", "16.000 ± 0.010", "0, 1, 2, 3, 4, 5"),
    ):
        assert shown in text
    saved = {link["download"]: unquote(link["href"].partition(",")[2]) for link in links if "download" in link}
    rows = list(csv.DictReader(io.StringIO(saved["bnlens-t1.csv"])))
    assert [row["square"] for row in rows] == [str(x * x) for x in range(6)]
    assert json.loads(saved["bnlens-t1.json"])["measured"] == 55.0
    assert json.loads(saved["bnlens-t1-jobs.json"])["square-3"]["result"]["square"] == 9
    assert [found["id"] for found in json.loads(saved["bnlens-claims.json"])["claims"]] == ["T1", "T2"]
