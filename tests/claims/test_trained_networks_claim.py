"""Claim D5: its jobs, and its judge on results made by hand."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bnlens.claims import Results, reproduce
from bnlens.claims.d5_trained_networks import CLAIM
from bnlens.errors import DataError, UsageError


def results(*of_nets: dict[str, Any]) -> Results:
    return Results(({"net": "cnn", "seed": seed}, result) for seed, result in enumerate(of_nets))


def result(network: float, layer: float, *, two_term: float = 0.5, stderr: float = 0.01) -> dict[str, Any]:
    """A job's result with these ratios of prediction to measurement, each known to ``stderr``."""
    rows = []
    for name, ratio in (("(network)", network), ("conv", layer)):
        for size in (16, 64):
            gap = 1 / size
            row: dict[str, Any] = {"layer": name, "statistics_batch_size": size}
            for kind, value in (
                ("measured", 1),
                ("predicted", ratio),
                ("first_order", ratio),
                ("fisher", 0.9 * ratio),
                ("two_term", two_term),
            ):
                row |= {kind: value * gap, f"{kind}_stderr": 0.0 if kind == "measured" else stderr * gap}
            rows.append(row)
    return {"data": "made up", "rows": rows}


@pytest.mark.parametrize(
    ("network", "layer", "stderr", "verdict"),
    [
        (1.05, 0.88, 0.01, "holds"),
        (1.15, 1.0, 0.01, "holds approximately"),
        (1.13, 1.0, 0.065, "holds"),
        (1.2, 1.0, 0.2, "holds approximately"),
        (1.4, 1.0, 0.4, "does not hold here"),
        (1.0, 1.2, 0.01, "holds approximately"),
        (1.4, 1.0, 0.01, "does not hold here"),
        (1.0, 0.5, 0.01, "does not hold here"),
    ],
)
def test_verdict(network: float, layer: float, stderr: float, verdict: str) -> None:
    finding = CLAIM.judge(results(result(network, layer, stderr=stderr)))
    assert finding.verdict == verdict
    assert finding.ratio == pytest.approx(network)


def test_finding_says_by_how_much_the_paper_is_off() -> None:
    both = results(result(1.0, 1.0, two_term=0.2), result(1.0, 1.0, two_term=1.7))
    finding = CLAIM.judge(both)
    assert finding.corrects_paper is not None
    assert "0.20 to 1.70" in finding.corrects_paper
    assert [row["network"] for row in finding.rows] == ["cnn-seed0"] * 4 + ["cnn-seed1"] * 4
    assert CLAIM.judge(results(result(1.0, 1.0, two_term=1.1))).corrects_paper is None
    assert len(CLAIM.figure(both).data) == 4


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """A folder in the layout of CIFAR-10, of 5,000 equal images."""
    encoded = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 127, dtype=np.uint8)).save(encoded, format="PNG")
    images = [{"bytes": encoded.getvalue(), "path": ""}] * 5000
    table = pa.table({"img": images, "label": list(range(10)) * 500})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    return tmp_path


def test_plans(cifar: Path) -> None:
    assert {job.config["data"] for job in CLAIM.plan("quick", None)} == {"digits"}
    full = CLAIM.plan("full", cifar)
    assert len({job.name for job in full}) == len(full) > len(CLAIM.plan("quick", None))
    assert {job.config["data"] for job in full} == {str(cifar)}
    with pytest.raises(UsageError, match="--data"):
        CLAIM.plan("full", None)


def test_bad_data_end_the_run_before_it_begins(cifar: Path) -> None:
    (cifar / "train.parquet").write_bytes((cifar / "train.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match=r"train\.parquet"):
        reproduce([CLAIM], out=cifar / "out", data=cifar)
    assert not (cifar / "out").exists()
