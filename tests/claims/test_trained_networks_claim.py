"""Claim D5: its jobs, its judge on results made by hand, and one real job on few images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bnlens.claims import get_claims, reproduce
from bnlens.claims.d5_trained_networks import train_and_report
from bnlens.errors import DataError, UsageError

CLAIM = get_claims(["D5"])[0]


def result(network: float, layer: float, *, two_term: float = 0.5, stderr: float = 0.01) -> dict[str, Any]:
    """A job's result with these ratios of prediction to measurement, each known to ``stderr``."""
    rows = []
    for name, ratio in (("(network)", network), ("conv", layer)):
        for size in (16, 64):
            gap = 1 / size
            row: dict[str, Any] = {"layer": name, "statistics_batch_size": size}
            for kind, value in (("measured", 1), ("exact", ratio), ("fisher", 0.9 * ratio), ("two_term", two_term)):
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
    finding = CLAIM.judge({"cnn-seed0": result(network, layer, stderr=stderr)})
    assert finding.verdict == verdict
    assert finding.ratio == pytest.approx(network)


def test_finding_says_by_how_much_the_paper_is_off() -> None:
    results = {"cnn-seed0": result(1.0, 1.0, two_term=0.2), "resnet-seed0": result(1.0, 1.0, two_term=1.7)}
    finding = CLAIM.judge(results)
    assert finding.corrects_paper is not None
    assert "0.20 to 1.70" in finding.corrects_paper
    assert len(finding.rows) == 8
    assert CLAIM.judge({"cnn-seed0": result(1.0, 1.0, two_term=1.1)}).corrects_paper is None
    assert len(CLAIM.figure(results).data) == 4


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


def test_a_small_job_trains_and_reports() -> None:
    small = train_and_report(net="mlp", data="digits", samples=320, steps=10, lr=0.1, rounds=1, seed=0)
    assert small["images"] == 320
    assert small["train_accuracy"] > 0.5
    assert {row["statistics_batch_size"] for row in small["rows"]} == {16, 64}
    finding = CLAIM.judge({"mlp-seed0": small})
    # an MLP in training has a gap, and its prediction is of its size even with few samples
    assert finding.measured > 0
    assert 0.3 < finding.ratio < 3
