"""The part of `gpu.py` on correctness: the tests of layers, conversion and report with their tensors on the device."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gpu_common import Clock
from rich.table import Table
from shared import table

ROOT = Path(__file__).parents[1]
FILES = (  # in the order of what they tell
    "tests/test_on_device.py",
    "tests/nn/test_nn_regimes.py",
    "tests/conversion/test_conversion_round_trip.py",
    "tests/conversion/test_conversion_rules.py",
    "tests/nn/test_nn_shared.py",
    "tests/nn/test_nn_regularisers.py",
    "tests/nn/test_nn_partial_noise.py",
    "tests/nn/test_nn_layers.py",
)
SMALL = ("tests/test_on_device.py", "-k", "test_ghost_groups or test_a_net")
NEEDED = ("pytest", "hypothesis")
_OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b")


def run(device: str, clock: Clock, *, small: bool) -> dict[str, Any]:
    """How many tests passed and which did not; where time did not suffice for all, ``finished`` is false."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return {"not_run": f"{' and '.join(missing)} not installed"}
    options = ["-v", "--color=no", "--tb=short", "-p", "no:cacheprovider", "-W", "default", "-m", "not slow"]
    command = [sys.executable, "-m", "pytest", *options, *(SMALL if small else FILES)]
    environment = {**os.environ, "BNLENS_TEST_DEVICE": device}
    finished = True
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=max(1.0, clock.left()),
            check=False,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        finished = False
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
    return {**tally(output), "finished": finished, "files": list(SMALL[:1] if small else FILES)}


def tally(output: str) -> dict[str, Any]:
    """Counts by outcome, the tests that failed, and the end of what pytest said where some did or none ran."""
    outcomes = [match.groups() for line in output.splitlines() if (match := _OUTCOME.match(line))]
    counts = Counter(outcome.lower() for _, outcome in outcomes)
    failed = sorted({test for test, outcome in outcomes if outcome in ("FAILED", "ERROR")})
    told = output[-4000:] if failed or not outcomes else ""
    return {"passed": counts["passed"], "skipped": counts["skipped"], "failed": failed, "output": told}


def show(found: dict[str, Any]) -> Table:
    """One line."""
    shown = table("tests on the device", "passed", "failed", "skipped", title="correctness")
    if "not_run" in found:
        shown.add_row(f"not run: {found['not_run']}", "", "", "")
        return shown
    shown.add_row(
        "all" if found["finished"] else "as many as the time allowed",
        str(found["passed"]),
        str(len(found["failed"])),
        str(found["skipped"]),
    )
    return shown
