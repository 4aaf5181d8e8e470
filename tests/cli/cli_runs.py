"""Runs of the command line in a process of its own, and what a user's mistake must look like."""

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from bnlens.cli import _app

SCRIPT = Path(__file__).parent.parent / "claims" / "toy_bnlens.py"


def bnlens(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnlens", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def toy_bnlens(marker: Path, *arguments: object, answer: str = "") -> subprocess.CompletedProcess[str]:
    gate = SCRIPT  # a file that is there: no job waits
    command = [sys.executable, str(SCRIPT), str(marker), str(gate), *map(str, arguments)]
    # the functions of toy claims are found where the tests are
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, capture_output=True, text=True, check=False, input=answer, env=environment)


def in_process(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that runs in this process."""
    result = CliRunner().invoke(_app(), arguments, prog_name="bnlens")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def without_torch(*arguments: str) -> str:
    """Standard output of a command that ends well and loads no torch."""
    code = (
        "import sys, bnlens.cli\nsys.argv = ['bnlens', *sys.argv[1:]]\n"
        "try:\n    bnlens.cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert [part for part in parts if part not in done.stderr] == []
