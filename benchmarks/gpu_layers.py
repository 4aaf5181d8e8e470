"""The part of `gpu.py` on layers: cases of `layer_cost.py` until the time is up, those that are compiled last."""

from __future__ import annotations

from typing import Any

from gpu_common import Clock, Turns
from layer_cost import DTYPES, FORMATS, GHOST, RIVAL, SHAPES, SIZES, Bench, Case, measure, rows_of
from rich.table import Table
from shared import reach, table

REPEATS = 20
SMALL_SHAPES = ((32, 4, 8, 8),)


def cases_of(small: bool) -> list[Case]:
    """All inputs as they are, then the first one compiled."""
    shapes = SMALL_SHAPES if small else SHAPES
    kinds = [(dtype, name) for dtype in DTYPES for name in FORMATS]
    as_is = [Case(shape, name, False, dtype) for shape in shapes for dtype, name in kinds]
    return as_is if small else as_is + [Case(shapes[0], name, True, dtype) for dtype, name in kinds]


def run(device: str, clock: Clock, *, small: bool) -> dict[str, Any]:
    """Time per pass of each variant, and its ratio to torch's layer; what the time did not suffice for is ``left_out``."""
    repeats = 2 if small else REPEATS
    rows: list[dict[str, Any]] = []
    turns = Turns(clock)

    def turn(case: Case) -> None:
        bench = Bench(case, device)
        if disagreement := bench.disagreement():
            turns.errors.append(disagreement)
        rows.extend(rows_of(case, measure(bench, repeats), device))

    turns.over(cases_of(small), turn, lambda case: case.compiled)
    return {
        "statistics_batch_size": SIZES,
        "repeats": repeats,
        "rows": rows,
        "left_out": turns.left_out,
        "errors": turns.errors,
    }


def show(found: dict[str, Any]) -> Table:
    """One line per case: torch's time, and the ratio of elapsed times for each variant."""
    names = [name for name in dict.fromkeys(row["variant"] for row in found["rows"]) if name != RIVAL]
    shown = table(
        "input", "torch, ms", *names, title=f"a layer's passes over torch's, elapsed; ghost groups of {GHOST}"
    )
    lines: dict[str, list[str]] = {}
    for row in found["rows"]:
        case = Case(**{name: row[name] for name in Case._fields})
        if row["variant"] == RIVAL:
            lines[str(case)] = [f"{row['time_ms']['median']:.3f}"]
        else:
            ratio = row["time_ratio"]
            lines[str(case)].append(f"{ratio['median']:.2f} ({reach(ratio)})")
    for case_name, line in lines.items():
        shown.add_row(case_name, *line)
    return shown
