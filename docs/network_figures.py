"""Draw the figures of claims E1 to E7 from benchmarks/results/networks_cifar10.parquet, an export of stored runs.

Run: python docs/network_figures.py   (needs the extras [png] and [vision], and a Chromium)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bnlens.claims import claims

ROOT = Path(__file__).parents[1]
_COUNTS = {"samples", "epochs", "batch_size", "device_batch_size", "seed", "images", "test_images", "steps"}


def results_of(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Results by job name, as they were before `bnlens runs export` laid them out in columns."""
    found: dict[str, dict[str, Any]] = {}
    for row in frame.to_dict("records"):
        result = found.setdefault(row["job"], {})
        for name, value in row.items():
            if name.startswith("result.") and not (isinstance(value, float) and pd.isna(value)) and value is not None:
                path = name.split(".")[1:]
                _put(result, path, _decoded(value, is_count=path[-1] in _COUNTS))
    for result in found.values():
        for name in ("regulariser", "noise"):
            result.get("config", {}).setdefault(name, None)
        result.setdefault("gap", None)
    return found


def _put(target: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value


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
        results = results_of(frame[frame["study"] == study])
        for claim_id in listing[study]["jobs"]:
            claim, names = claims()[claim_id], listing[study]["jobs"][claim_id]
            of_claim = {name: results[name] for name in names}
            finding = claim.judge(of_claim)
            print(f"{study}, {claim_id}: {finding.verdict}. {finding.summary}\n")
            ending = "" if study == "4-conv net" else f"_{study}"
            file = ROOT / f"docs/images/networks_{claim_id.lower()}{ending}.png"
            claim.figure(of_claim).update_layout(paper_bgcolor="white").write_image(file, width=1000)


if __name__ == "__main__":
    main()
