"""Draw the figures of claims on networks from benchmarks/results/networks_cifar10.parquet, an export of stored runs.

Run: python docs/network_figures.py   (needs the extras [png] and [vision], and a Chromium)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bnlens.claims import Results, claims

ROOT = Path(__file__).parents[1]
_COUNTS = {
    "samples",
    "images",
    "test_images",
    "epochs",
    "further_epochs",
    "steps",
    "batch_size",
    "device_batch_size",
    "seed",
    "layer",
}


def jobs_of(frame: pd.DataFrame) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return configuration and result by job name, as they were before `bnlens runs export` laid them out in columns."""
    return {row["job"]: (_unfolded(row, "config"), _unfolded(row, "result")) for row in frame.to_dict("records")}


def _unfolded(row: dict[str, Any], start: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, value in row.items():
        first, *path = column.split(".")
        if first == start and value is not None and not (isinstance(value, float) and pd.isna(value)):
            inner = found
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
            inner[path[-1]] = _decoded(value, is_count=path[-1] in _COUNTS)
    return found


def _decoded(value: Any, *, is_count: bool) -> Any:
    if not isinstance(value, str):
        return int(value) if is_count else value  # a column with gaps holds floats
    try:
        return json.loads(value)
    except ValueError:
        return value


def main() -> None:
    """Draw every figure and print every finding."""
    frame = pd.read_parquet(ROOT / "benchmarks/results/networks_cifar10.parquet")
    listing = json.loads((ROOT / "benchmarks/results/networks_cifar10.json").read_text(encoding="utf-8"))["studies"]
    for study in listing:
        jobs = jobs_of(frame[frame["study"] == study])
        for claim_id, names in listing[study]["jobs"].items():
            claim, results = claims()[claim_id], Results(jobs[name] for name in names)
            finding = claim.judge(results)
            print(f"{study}, {claim_id}: {finding.verdict}. {finding.summary}\n")
            ending = "" if study == "4-conv net" else f"_{study.lower().replace(' ', '_')}"
            file = ROOT / f"docs/images/networks_{claim_id.lower()}{ending}.png"
            claim.figure(results).update_layout(paper_bgcolor="white").write_image(file, width=1000)


if __name__ == "__main__":
    main()
