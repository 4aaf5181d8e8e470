"""The benchmark for GPUs on the CPU, at sizes that say nothing about speed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def gpu_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_part_gives_its_numbers(tmp_path):
    out = tmp_path / "gpu.json"
    done = gpu_script("--device", "cpu", "--small", "--seconds", "600", "--out", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {row["dtype"] for row in result["layers"]["rows"]} == {"float32", "bfloat16"}
    assert all(row["time_ratio"]["median"] > 0 for row in result["layers"]["rows"])
    assert len(result["report"]["rows"]) == 2
    assert all(row["report_images"] >= 32 and row["bn_layers"] == 9 for row in result["report"]["rows"])
    assert result["tests"]["finished"]
    assert result["tests"]["passed"] == 2
    assert len(result["training"]["rows"]) == 8
    assert len({row["steps"] for row in result["training"]["rows"]}) == 1
    assert result["training"]["data"] == "noise"
    for part in ("layers", "report", "tests", "training"):
        assert not result[part].get("errors")
        assert not result[part].get("left_out")


@pytest.mark.slow
def test_what_there_is_no_time_for_is_told(tmp_path):
    out = tmp_path / "gpu.json"
    done = gpu_script("--device", "cpu", "--small", "--seconds", "0.001", "--parts", "layers", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))["layers"]
    assert len(found["left_out"]) == 3  # the first case tells how long one takes
    assert "no time left for channels last" in done.stdout


def test_without_a_device_it_says_how_to_try_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also where there is one
    done = gpu_script("--out", "nowhere.json")
    assert done.returncode == 1
    assert "--device cpu --small" in done.stderr
    assert not Path("nowhere.json").exists()
