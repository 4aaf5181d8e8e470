import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import assert_one_sentence, in_process, toy_bnlens, without_torch

from bnlens.claims import ClaimRun, Finding
from bnlens.cli.reproduce import _print_runs
from claims.toy_claims import claim


def test_help_names_the_verbs_and_loads_no_torch() -> None:
    assert {"report", "reproduce", "runs", "theory", "serve", "cite"} <= set(without_torch("--help").split())


def test_version() -> None:
    for flag in ("--version", "-V"):
        assert in_process(flag) == (0, f"bnlens {importlib.metadata.version('bnlens')}\n", "")


@pytest.mark.parametrize("words", ["", "report", "reproduce", "runs", "runs export", "theory", "theory rates", "serve"])
def test_short_help_is_whole_and_fits_80_columns(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = in_process(*words.split(), "-h")
    assert (code, out) == in_process(*words.split(), "--help")[:2]
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("COMMAND [ARGS]...", "").replace("[IDS]...", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("reprot", "there is no command 'reprot'; did you mean 'report'?"),
        ("zzz", "there is no command 'zzz'; see bnlens --help"),
        ("runs lst", "there is no command 'lst'; did you mean 'list'?"),
        ("--vresion", "there is no option '--vresion'; did you mean '--version'?"),
        ("report --alonee", "there is no option '--alonee'; did you mean '--alone'?"),
        ("theory rates --lerning-rate 3", "there is no option '--lerning-rate'; did you mean '--learning-rate'?"),
        ("report --device", "option '--device' requires an argument"),
        ("report --alone=3", "option '--alone' does not take a value"),
        ("report a b", "extra argument(s) (b); see bnlens report --help"),
        ("runs show", "missing argument 'JOB'; see bnlens runs show --help"),
        ("reproduce --scale huge", "--scale: 'huge' is not one of 'quick', 'full'; see bnlens reproduce --help"),
        ("reproduce --jobs 0", "--jobs must be greater than or equal to 1; see bnlens reproduce --help"),
    ],
)
def test_mistaken_words_get_one_sentence(arguments: str, sentence: str) -> None:
    code, out, err = in_process(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "completed"), [("rep", "report"), ("report --prec", "--precision"), ("report resnet1", "resnet14")]
)
def test_a_shell_completes_verbs_options_and_nets(typed: str, completed: str) -> None:
    environment = {**os.environ, "_BNLENS_COMPLETE": "complete_bash", "COMP_WORDS": f"bnlens {typed}"}
    environment["COMP_CWORD"] = str(len(typed.split()))
    command = [sys.executable, "-c", "from bnlens.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert completed in done.stdout.split()


def test_table_and_path_of_the_report(tmp_path: Path) -> None:
    done = toy_bnlens(tmp_path / "m", "reproduce", "--out", tmp_path / "out", "--jobs", 2)
    assert done.returncode == 0
    first, second, corrects, report = [line for line in done.stdout.splitlines() if "T" in line or "Report" in line]
    assert first.split()[:-1] == ["T1", "Toy", "T1", "55.00", "±", "0.50", "53.9", "0.98", "holds"]
    assert "does not hold here" in second
    assert corrects == "T2 corrects the paper: The paper's factor is twice too large."
    assert report == f"Report: {tmp_path / 'out' / 'report.html'}"
    assert "[7/7]" in done.stderr
    assert "a job that prints" not in done.stdout


def test_a_premise_not_met_and_parts_are_told_with_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    summary, parts = "BN less PN is 0.001 +- 0.002.", {"small": "holds", "large": "does not hold here"}
    findings = (
        Finding("premise not met", 1.0, 1.0, 0.1, summary),
        Finding("does not hold here", 1.0, 1.0, 0.1, "", parts=parts),
    )
    names = ("T1", "T2")
    _print_runs(
        [
            ClaimRun(claim(name, lambda setup: []), [], 0, found, None)
            for name, found in zip(names, findings, strict=True)
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert any("T1" in line and "premise not met" in line for line in lines)
    assert lines[-2:] == [
        f"T1, premise not met: {summary}",
        "T2, judged apart: small: holds; large: does not hold here.",
    ]


def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    done = toy_bnlens(tmp_path / "m", "reproduce", "T2", "T1", "--json", "--out", tmp_path / "out", "--jobs", 2)
    assert done.returncode == 0
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(found) == ["claims"]
    assert [claim["id"] for claim in found["claims"]] == ["T2", "T1"]
    face, numbers = (
        "id title statement source agreement quantity core paper",
        "measured predicted stderr ratio summary corrects_paper",
    )
    expected = f"{face} verdict parts {numbers} rows seconds jobs computed errors"
    assert list(found["claims"][0]) == expected.split()
    against, agreeing = found["claims"]
    assert (against["predicted"], against["ratio"]) == (None, None)
    assert (agreeing["measured"], agreeing["predicted"], agreeing["stderr"]) == (55.0, pytest.approx(53.9), 0.5)
    assert (agreeing["ratio"], agreeing["corrects_paper"]) == (pytest.approx(0.98), None)


def test_list(tmp_path: Path) -> None:
    found = json.loads(toy_bnlens(tmp_path / "m", "reproduce", "--list", "--json").stdout)["claims"]
    assert [claim["id"] for claim in found if claim["core"]] == ["T1", "T2"]
    assert len(found) == 7
    table = toy_bnlens(tmp_path / "m", "reproduce", "--list").stdout
    assert [line.split()[:2] for line in table.splitlines() if "Toy" in line][1:3] == [["T2", "core"], ["T3", "Toy"]]
    assert not (tmp_path / "m").exists()


def test_a_failed_job_ends_in_code_1_and_bad_input_in_code_2(tmp_path: Path) -> None:
    failed = toy_bnlens(tmp_path / "m", "reproduce", "T3", "--out", tmp_path / "out", "--jobs", 1)
    assert failed.returncode == 1
    assert "Error: T3: job bad failed: ValueError: the matrix is singular\n" in failed.stderr
    lacking = toy_bnlens(tmp_path / "m", "reproduce", "T4", "--json", "--out", tmp_path / "out", "--jobs", 1)
    assert lacking.returncode == 2
    assert json.loads(lacking.stdout)["claims"][0]["verdict"] is None
    assert "data.npz is corrupt; download it again" in lacking.stderr


def test_mistakes_end_in_one_sentence(tmp_path: Path) -> None:
    marker, file = tmp_path / "m", tmp_path / "file"
    file.write_text("no database, but long enough to be looked at " * 5)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "runs.sqlite").write_text(file.read_text())
    assert_one_sentence(toy_bnlens(marker, "reproduce", "T9"), "unknown claim 'T9'", "did you mean T")
    assert_one_sentence(toy_bnlens(marker, "reproduce", "T1", "--all"), "--all")
    assert_one_sentence(
        toy_bnlens(marker, "reproduce", "--out", file), "cannot write", str(file), "choose a writable folder"
    )
    assert_one_sentence(toy_bnlens(marker, "reproduce", "--out", tmp_path / "damaged"), "is damaged", "runs.sqlite")
    assert_one_sentence(toy_bnlens(marker, "reproduce", "--data", tmp_path / "absent"), "--data", "absent")
    assert not marker.exists()


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bnlens", "reproduce", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
