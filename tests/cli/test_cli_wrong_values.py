"""Every option of every command with wrong values: exit code 2, one sentence, nothing on standard output, no traceback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_runs import in_process

from bnlens.cli import _app

NO_NUMBER = ["", "x", "nan", "inf"]
WHOLE = [*NO_NUMBER, "-1", "1.5", str(2**70)]
NAME = ["", "no such name", "-1", "nan", str(2**70)]
WRITTEN = ["", "{folder}", "{file}/below"]
READ = ["", "{folder}", "missing", "{file}/below"]
OF_METAVAR = {
    **dict.fromkeys(["N", "M", "P", "PORT"], WHOLE),
    "PART": [*NO_NUMBER, "-1", "0"],
    "SECONDS": [*NO_NUMBER, "-1", "0"],
    **dict.fromkeys(["ETA", "ZETA", "LAMBDA", "S", "G", "R", "L", "T", "LIST"], NO_NUMBER),
    **dict.fromkeys(["NAME", "NAME=VALUE", "ID", "IDS", "JOB", "MODEL", "ADDRESS"], NAME),
    "NAME|DIR": [*NAME, "{file}", "{folder}"],
    "CHOICE": ["", "x", "-1"],
}
OF_PATH = {
    "--checkpoint": READ,
    "--config": READ,
    "--data": ["", "{file}", "missing"],
    "--folder": ["", "{file}"],
    "reproduce --out": ["", "{file}", "{file}/below"],
    "cite --out": WRITTEN,
    "--out": ["", "{file}", "missing", "{folder}"],
    "--export": ["", "{file}", "{file}/below"],
    **dict.fromkeys(["--html", "--png", "--save", "--file", "--plot"], WRITTEN),
}
BEFORE = {  # arguments with which a right value ends soon
    "report": ["mlp", "--rounds", "1", "-M", "8", "--samples", "40", "--train-steps", "1"],
    "reproduce": ["G2", "--jobs", "1"],
    "runs show": ["job"],
    "runs remove": ["--all", "--yes"],
    "theory dynamics": ["gamma-decay", "--tau", "0,1"],
    "theory rates": ["--learning-rate", "1"],
    "theory generalization": ["--alpha", "1"],
    "serve": ["--no-open", "--export", "site"],
}
INSTEAD = {  # of the first arguments, where the option has no meaning with them
    "serve --host": ["--no-open"],
    "serve --port": ["--no-open"],
    "theory generalization --decay": ["ridge"],
    "theory generalization --zeta": ["gamma-decay"],
    "theory generalization --teacher": ["relu", "--decay", "1"],
}


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that has no subcommands, with the words that call it."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        words = f"{path} {name}".strip()
        if hasattr(command, "list_commands"):
            yield from commands(command, words)
        else:
            yield words, command


def cases() -> Iterator[tuple[str, str, str]]:
    """Command, option or "" for an argument, and value."""
    for words, command in commands(typer.main.get_command(_app())):
        for param in command.params:
            if getattr(param, "is_flag", False):
                continue
            is_argument = param.param_type_name == "argument"
            flag = "" if is_argument else max(param.opts, key=len)
            metavar = param.metavar or ("N" if param.name == "seed" else "CHOICE")
            metavar = "SECONDS" if flag == "--max-seconds" else metavar
            values = OF_PATH.get(f"{words} {flag}", OF_PATH.get(flag)) if metavar in ("FILE", "DIR") else None
            for value in OF_METAVAR[metavar] if values is None else values:
                yield words, flag, value


CASES = list(cases())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("no data")
    return {"folder": tmp_path / "folder", "file": tmp_path / "file"}


@pytest.mark.parametrize(("words", "flag", "value"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_wrong_value_ends_in_one_sentence(words: str, flag: str, value: str, place: dict[str, Path]) -> None:
    given = value.format(**place)
    if flag:
        before = INSTEAD.get(f"{words} {flag}", BEFORE.get(words, []))
        arguments = [*words.split(), *before, f"{flag}={given}"]
    else:
        arguments = [*words.split(), "--", given]
    if "simulate" in words or (flag in ("--size", "--runs", "--seed", "--dimension") and words.startswith("theory")):
        arguments.append("--simulate")
    code, out, err = in_process(*arguments)
    assert (code, out) == (2, ""), (out[:300], err)
    assert err.startswith("Error: "), err
    assert err.count("\n") == 1, err
    assert sorted(path.name for path in place["folder"].parent.iterdir()) == ["file", "folder"]


def test_there_are_as_many_cases_as_options_ask_for() -> None:
    assert len({(words, flag) for words, flag, _ in CASES}) > 60
    assert len(CASES) > 300
