from pathlib import Path
from typing import Any

import pytest
from cli_runs import assert_one_sentence, bnlens, toy_bnlens

from bnlens.cli._study import Study, parameters_of, parse_changes, read_study
from bnlens.errors import UsageError

CLAIMS = ["D1", "E1", "E2"]


def written(folder: Path, text: str) -> Path:
    file = folder / "study.toml"
    file.write_text(text)
    return file


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    text = 'claims = ["E1"]\nscale = "full"\njobs = 3\nseeds = 4\n[E1]\nM = [8, "inf"]\n[e2]\nnet = "mlp"\n'
    parameters = {"e1": {"M": [8, "inf"]}, "e2": {"net": "mlp"}}
    study = Study(claims=["E1"], scale="full", jobs=3, seeds=4, parameters=parameters)
    assert read_study(written(tmp_path, text), CLAIMS) == study


def test_the_command_line_wins() -> None:
    file = Study(scale="full", jobs=3, parameters={"e1": {"net": "mlp", "epochs": 2}})
    line = Study(scale="quick", parameters={"e1": {"epochs": 5}, "": {"lr": 0.1}})
    merged = line.over(file)
    assert (merged.scale, merged.jobs) == ("quick", 3)
    assert merged.parameters == {"e1": {"net": "mlp", "epochs": 5}, "": {"lr": 0.1}}


def test_parameters_of_all_claims_and_of_one() -> None:
    study = Study(seeds=3, parameters={"": {"net": "cnn", "epochs": 1}, "e1": {"epochs": 9}})
    both = {"net": "cnn", "seeds": 3}
    assert parameters_of(study, ["E1", "E2"]) == {"E1": {**both, "epochs": 9}, "E2": {**both, "epochs": 1}}
    with pytest.raises(UsageError, match="there are parameters for E1, which is not among the claims to run"):
        parameters_of(study, ["E2"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("E1.M=[8, 'inf']", {"e1": {"M": [8, "inf"]}}),
        ("net=resnet14", {"": {"net": "resnet14"}}),
        ("lr = 0.5", {"": {"lr": 0.5}}),
        ("augment=true", {"": {"augment": True}}),
        ('net="a b"', {"": {"net": "a b"}}),
    ],
)
def test_values_are_toml_and_words_need_no_quotes(text: str, expected: dict[str, Any]) -> None:
    assert parse_changes([text], CLAIMS) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "is not NAME=VALUE"),
        ("=3", "is not NAME=VALUE"),
        ("E1.=3", "is not NAME=VALUE"),
        ("epochs=", "is not NAME=VALUE"),
        ("E9.epochs=3", "unknown key 'E9'; did you mean"),
        ("M=[8,", "is not a TOML value"),
    ],
)
def test_bad_changes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_changes([text], CLAIMS)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("scael = 'full'", ("unknown key 'scael'", "did you mean 'scale'")),
        ("[T11]\nx = 1", ("unknown key 'T11'", "did you mean 'T1'")),
        ("jobs = '2'", ("jobs must be a whole number", "got '2'")),
        ("jobs = true", ("jobs must be a whole number",)),
        ("seeds = 0", ("seeds must be a whole number of at least 1",)),
        ("scale = 'huge'", ("scale must be 'quick' or 'full'",)),
        ("claims = 'T1'", ("claims must be a list",)),
        ("T1 = 3", ("T1 must be a table of parameters",)),
        ("claims = ['T1']\nscale = \njobs = 1", ("is not TOML", "line 2")),
        ("[T1]\nseeds = 2", ("T1 has no parameters, so 'seeds' cannot be set",)),
    ],
)
def test_a_bad_file_is_one_sentence_and_computes_nothing(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    marker, out = tmp_path / "marker", tmp_path / "out"
    done = toy_bnlens(marker, "reproduce", "T1", "--out", out, "--config", written(tmp_path, text))
    assert_one_sentence(done, *parts)
    assert not marker.exists()


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    assert_one_sentence(bnlens("reproduce", "--config", tmp_path / "absent.toml"), "absent.toml", "No such file")


def test_a_file_says_what_to_run(tmp_path: Path) -> None:
    file = written(tmp_path, f'claims = ["T2"]\nout = "{tmp_path / "out"}"\njobs = 1\n')
    done = toy_bnlens(tmp_path / "marker", "reproduce", "--config", file)
    assert done.returncode == 0
    assert "T2" in done.stdout
    assert "T1 " not in done.stdout
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_scheduler_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    done = toy_bnlens(tmp_path / "m", "reproduce", "T1", "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 2
    sentence = "Error: no Dask scheduler answers at tcp://127.0.0.1:9; start one with"
    assert done.stderr.splitlines()[-1].startswith(sentence)
