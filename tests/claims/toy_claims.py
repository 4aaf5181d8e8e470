"""Small claims that need no torch; each job leaves a line in a marker file, so tests can count what was computed.

For the claims of bnlens there are results that are made up.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from bnlens import render
from bnlens.claims import Claim, Finding, PaperStatement, Results, Setup
from bnlens.errors import DataError
from bnlens.runs import Job

PATIENCE = 600  # seconds, far more than a busy machine needs for anything here


def wait_until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def square(x: float, seed: int, marker: str, gate: str | None = None) -> dict[str, Any]:
    """Square a number; below 3, wait until the gate, a file, is there."""
    mark(marker, f"square {x}")
    print("a job that prints")  # noqa: T201
    wait_until(lambda: gate is None or x >= 3 or Path(gate).exists())
    return {"x": x, "square": x * x, "threads": os.environ["OMP_NUM_THREADS"]}


def variable(name: str) -> dict[str, Any]:
    """Tell a variable of the worker's environment."""
    return {"value": os.environ.get(name)}


def gated_square(x: float, marker: str, gate: str, free: int) -> dict[str, Any]:
    """Square a number; once as many as ``free`` have begun, wait until the gate is there."""
    mark(marker, f"square {x}")
    wait_until(lambda: len(marks(Path(marker))) <= free or Path(gate).exists())
    return {"x": x, "square": x * x}


def bulky_square(x: float, marker: str, size: int) -> dict[str, Any]:
    mark(marker, f"square {x}")
    return {"x": x, "square": x * x, "bulk": "x" * size}


def fail(marker: str) -> dict[str, Any]:
    mark(marker, "fail")
    raise ValueError("the matrix is\nsingular")


def lack_data(marker: str) -> dict[str, Any]:
    mark(marker, "lack_data")
    raise DataError("data.npz is corrupt; download it again")


def die(marker: str, once: bool) -> dict[str, Any]:
    """Kill the process; with ``once`` only the first time, when `outlive` runs beside it."""
    wait_until(lambda: not once or "outlive" in marks(Path(marker)))
    mark(marker, "die")
    if not once or marks(Path(marker)).count("die") == 1:
        os._exit(9)
    return {"x": 0, "square": 0}


def outlive(marker: str) -> dict[str, Any]:
    """Run, the first time, until the death of another job ends this one, too."""
    mark(marker, "outlive")
    if marks(Path(marker)).count("outlive") == 1:
        time.sleep(PATIENCE)
    return {"x": 0, "square": 0}


def count_up(marker: str, stop_at: int, end: int, gate: str | None, scratch: Path) -> dict[str, Any]:
    """Count to ``end``, one number after the other, from where the scratch folder says; wait at ``stop_at`` for the gate."""
    path = scratch / "count"
    count = int(path.read_text()) if path.exists() else 0
    while count < end:
        wait_until(lambda count=count: gate is None or count != stop_at or Path(gate).exists())
        count += 1
        mark(marker, f"count {count}")
        path.with_suffix(".new").write_text(str(count))  # a worker can be killed as it writes
        path.with_suffix(".new").replace(path)
    return {"x": count, "square": count**2}


def leave(words: str | None, scratch: Path) -> dict[str, Any]:
    """Fail, with something in the scratch folder or without."""
    if words is not None:
        (scratch / "words").write_text(words)
    raise ValueError("the matrix is singular")


def mark(marker: str, line: str) -> None:
    with Path(marker).open("a") as file:
        file.write(line + "\n")


def marks(marker: Path) -> list[str]:
    return sorted(marker.read_text().splitlines()) if marker.exists() else []


def judge(results: Results) -> Finding:
    rows = [
        {"x": result["x"], "square": result["square"], "square stderr": 0.01, "note": "a < b"} for _, result in results
    ]
    total = float(sum(result["square"] for _, result in results))
    return Finding("holds", total, 0.98 * total, 0.5, f"The sum is {total}.", rows)


def judge_against_paper(results: Results) -> Finding:
    correction = "The paper's factor is twice too large."
    return Finding("does not hold here", 0.0, float("nan"), 0.1, "It is zero.", [{"x": 1}], correction)


def judge_badly(results: Results) -> Finding:
    raise KeyError("nothing")


def figure(results: Results) -> go.Figure:
    fig = render.new_figure(x="x", y="square")
    fig.add_scatter(x=[result["x"] for _, result in results], y=[result["square"] for _, result in results])
    return fig


def claim(
    name: str,
    jobs: Callable[[Setup], Sequence[Job]],
    judge: Callable[[Results], Finding] = judge,
    *,
    core: bool = False,
) -> Claim:
    texts = (f"Toy {name}", "Squares add up & more.", "theory sheet A.2", "Equal.", "sum of squares")
    paper = PaperStatement("Squares add up.", "On squares", "abstract")
    return Claim(name, *texts, core, jobs, judge, figure, paper=paper)


def squares(marker: Path, count: int, gate: Path | None = None) -> list[Job]:
    """Return jobs that run from the largest number to zero."""
    more = {"marker": str(marker), "gate": gate and str(gate)}
    return [Job(f"square-{x}", square, {"x": x, "seed": x, **more}, cost=x) for x in range(count)]


def toys(marker: Path, gate: Path | None = None) -> dict[str, Claim]:
    """T1 works, T2 contradicts the paper, T3 fails, T4 lacks data, T5 kills its worker, T6 cannot be judged, T7 counts."""
    at = {"marker": str(marker)}
    found = [
        claim("T1", lambda setup: squares(marker, 6 if setup.scale == "quick" else 8, gate), core=True),
        claim("T2", lambda setup: squares(marker, 1), judge_against_paper, core=True),
        claim("T3", lambda setup: [*squares(marker, 1), Job("bad", fail, at)]),
        claim("T4", lambda setup: [Job("data", lack_data, at)]),
        claim("T5", lambda setup: [*squares(marker, 3), Job("deadly", die, {**at, "once": False}, cost=9)]),
        claim("T6", lambda setup: squares(marker, 1), judge_badly),
        claim("T7", lambda setup: [Job("count", count_up, {**at, "stop_at": 3, "end": 5, "gate": gate and str(gate)})]),
    ]
    return {toy.id: toy for toy in found}


def made_up(claim: Claim, result_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Results:
    """Results of the jobs of a claim, each made up from its configuration."""
    return Results([(job.config, result_of(job.config)) for job in claim.plan()])
