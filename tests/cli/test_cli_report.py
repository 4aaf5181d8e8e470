"""The verb ``report``: what it prints and writes, and one sentence for each mistake."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import in_process
from PIL import Image
from torch import nn

import bnlens

run = partial(in_process, "report")
FAST = ["--rounds", "1", "-M", "8", "--samples", "200", "--train-steps", "3"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder with factories of every kind; its name."""
    (tmp_path / "mine_for_bnlens.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))\n"
        "def small():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))\n"
        "def plain():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "def wide():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 10))\n"
        "def broken():\n"
        "    raise KeyError('weights')\n"
        "def text():\n"
        "    return 'no module'\n"
    )
    (tmp_path / "unreadable_for_bnlens.py").write_text("def net(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "mine_for_bnlens"
    sys.modules.pop("mine_for_bnlens", None)


def test_table_page_and_file(tmp_path: Path) -> None:
    files = {option: str(tmp_path / f"r.{option}") for option in ("html", "png")} | {"save": str(tmp_path / "r.json")}
    code, out, _ = run("mlp", *FAST, *(word for option, file in files.items() for word in (f"--{option}", file)))
    assert code == 0
    assert out.startswith("BN at M = 8 ")
    assert "bnlens report: MLP, 3 BN layers, 200 samples" in out
    assert max(map(len, out.splitlines()[:-3])) <= 80
    assert out.count("Written: ") == 3
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert repr(bnlens.Report.load(tmp_path / "r.json")) in out


def test_verbose_shows_what_the_layers_see() -> None:
    (code, short, _), (_, whole, _) = run("mlp", *FAST), run("mlp", *FAST, "--verbose")
    assert code == 0
    assert ("two-term" in short, "two-term" in whole) == (False, True)
    assert "excess kurtosis" in whole


def test_random_weights_are_said(module: str) -> None:
    code, out, _ = run(f"{module}:net", *FAST)
    assert (code, "--checkpoint FILE" in out) == (0, True)
    assert "--checkpoint FILE" not in run("mlp", *FAST)[1]


def test_json_is_the_report_and_nothing_else() -> None:
    code, out, _ = run("mlp", *FAST, "--json")
    assert (code, json.loads(out)["statistics_batch_sizes"]) == (0, [8])


def test_what_to_measure_and_when_to_stop() -> None:
    others = "--prediction-batch-size", "6", "--prediction-batch-size", "12"
    code, out, _ = run("mlp", *FAST, "--json", "--alone", "--fisher", "--logits", "--device", "cpu", *others)
    asked = json.loads(out)
    gaps = asked["network"]["gaps"]
    assert list(gaps["others"]) == ["6", "12"]
    assert gaps["logits"]
    assert gaps["fisher"]
    assert gaps["first_order"]
    assert (code, asked["stopped"], asked["precision"]) == (0, "rounds", None)
    assert all(layer["gaps"] and layer["quadratic"] for layer in asked["layers"])
    code, out, _ = run("mlp", *FAST[2:], "--json", "--precision", "0.001", "--max-seconds", "0.001")
    found = json.loads(out)
    assert (code, found["stopped"], found["precision"]) == (0, "seconds", 0.001)
    assert not any(layer["gaps"] or layer["quadratic"] for layer in found["layers"])
    assert not found["network"]["gaps"]["first_order"]
    assert not found["network"]["gaps"]["logits"]
    code, out, _ = run("mlp", *FAST, "--json", "--first-order")
    assert json.loads(out)["network"]["gaps"]["first_order"]


def test_own_model_with_checkpoint(module: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    nn.init.constant_(model[2].weight, 0.25)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    code, out, _ = run(f"{module}:net", *FAST, "--checkpoint", str(tmp_path / "w.pt"), "--json")
    assert code == 0
    assert json.loads(out)["layers"][0]["gamma_rms"] == pytest.approx(0.25)


def test_as_many_samples_as_asked_for(tmp_path: Path) -> None:
    fast = [option for option in FAST if option not in ("--samples", "200")]
    for seed, label in enumerate("ab"):
        (tmp_path / label).mkdir()
        pixels = np.random.default_rng(seed).integers(256, size=(4, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / label / "0.png")
        for number in range(1, 2100):
            (tmp_path / label / f"{number}.png").symlink_to("0.png")
    for option, samples in (([], 4096), (["--samples", "4200"], 4200)):
        code, out, _ = run("mlp", *fast, "--data", str(tmp_path), *option, "--json")
        assert (code, json.loads(out)["samples"]) == (0, samples)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nett"], ["nett", "mlp"]),
        (["{module}:missing"], ["missing", "package.module:factory"]),
        (["nowhere_to_be_found:net"], ["nowhere_to_be_found"]),
        (["{module}:broken"], ["KeyError", "without arguments"]),
        (["{module}:text"], ["str", "torch.nn.Module"]),
        (["{module}:plain"], ["no BN layer"]),
        (["{module}:wide"], ["cannot be run on images of 1x8x8", "RuntimeError"]),
        (["unreadable_for_bnlens:net"], ["cannot import", "SyntaxError"]),
        (["{module}:small"], ["out of range", "4 outputs"]),
        (["mlp", "--data", "nowhere"], ["nowhere", "digits"]),
        (["mlp", "--checkpoint", "none.pt"], ["none.pt"]),
        (["mlp", "--html", "{file}/r.html"], ["cannot write", "is a file"]),
        (["mlp", "--save", "."], ["is a folder"]),
        (["mlp", "--png", "r.jpg"], ["--png r.jpg", ".png, .svg or .pdf"]),
        (["mlp", "--samples", "10"], ["10 images"]),
        (["mlp", "-M", "1"], ["--statistics-batch-size", "equal to 2"]),
        (["mlp", "--rounds", "0"], ["--rounds", "equal to 1"]),
        (["mlp", "--precision", "0"], ["precision is 0.0", "above 0"]),
        (["mlp", "--max-seconds", "-1"], ["max_seconds is -1.0", "above 0"]),
        (["mlp", "--device", "nowhere"], ["device 'nowhere' cannot be used"]),
        (["mlp", "-M", "8", "--prediction-batch-size", "8"], ["also measured"]),
        (["mlp", "-M", "128"], ["fewer than twice"]),
        (["mlp", "--split", "all"], ["train"]),
    ],
)
def test_mistakes_end_in_one_sentence_and_code_2(
    args: list[str], words: list[str], module: str, tmp_path: Path
) -> None:
    file = tmp_path / "a_file"
    file.touch()
    fast = FAST if "-M" not in args else [option for option in FAST if option not in ("-M", "8")]
    code, out, err = run(*fast, *(arg.format(module=module, file=file) for arg in args))
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert all(word in err for word in words), err
    assert not list(tmp_path.glob("*.html"))
