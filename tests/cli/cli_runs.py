"""Runs of the command line in a process of its own, and what a user's mistake must look like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "claims" / "toy_bnlens.py"


def bnlens(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnlens", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def toy_bnlens(marker: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    gate = SCRIPT  # a file that is there: no job waits
    command = [sys.executable, str(SCRIPT), str(marker), str(gate), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert [part for part in parts if part not in done.stderr] == []
