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
from bnlens.cli.report import NETS

run = partial(in_process, "report")
OWN = ["--rounds", "1", "-M", "8", "--samples", "200"]
FAST = [*OWN, "--train-steps", "3"]


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
        "def half():\n"
        "    return net().half()\n"
        "def meta():\n"
        "    return net().to('meta')\n"
        "class Pair(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x), None\n"
        "def pair():\n"
        "    return Pair(*net())\n"
        "def first(model, batch):\n"
        "    return model(batch[0])[0], batch[1]\n"
        "def twice(output, target):\n"
        "    return 2 * nn.functional.cross_entropy(output, target)\n"
        "def spread(output, target):\n"
        "    return output.var(0).sum()\n"
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
    code, out, _ = run(f"{module}:net", *OWN)
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
    code, out, _ = run(f"{module}:net", *OWN, "--checkpoint", str(tmp_path / "w.pt"), "--json")
    assert code == 0
    assert json.loads(out)["layers"][0]["gamma_rms"] == pytest.approx(0.25)


def test_predictions_at_other_sizes() -> None:
    code, out, _ = run("mlp", *FAST, "--predict", "12", "--predict", "24", "--json")
    found = json.loads(out)
    report = bnlens.Report.loads(json.dumps({name: value for name, value in found.items() if name != "predictions"}))
    expected = report.predict([12, 24]).to_frame().reset_index()
    assert code == 0
    assert [row["predicted"] for row in found["predictions"]] == pytest.approx(expected["predicted"].tolist())
    assert repr(report.predict([12, 24])) in run("mlp", *FAST, "--predict", "12", "--predict", "24")[1]


def test_own_forward_loss_and_a_model_in_a_file(module: str) -> None:
    torch.manual_seed(0)
    code, out, _ = run(f"./{module}.py:pair", *OWN, "--forward", f"{module}:first", "--json")
    torch.manual_seed(0)
    doubled = run(f"{module}:pair", *OWN, "--forward", f"{module}:first", "--loss", f"{module}:twice", "--json")
    torch.manual_seed(0)
    named = run(f"{module}:net", *OWN, "--loss", "torch.nn:CrossEntropyLoss", "--json")
    assert (code, doubled[0], named[0]) == (0, 0, 0)
    losses = [bnlens.Report.loads(text).network.population_loss.value for text in (out, doubled[1], named[1])]
    assert losses[1:] == pytest.approx([2 * losses[0], losses[0]], rel=1e-5)


def test_a_loss_that_couples_images(module: str) -> None:
    torch.manual_seed(0)
    arguments = [f"{module}:net", *OWN, "--samples", "600", "--loss", f"{module}:spread"]
    code, _, err = run(*arguments)
    assert code == 2
    assert "pass --couples to measure the loss of whole batches" in err
    code, out, _ = run(*arguments, "--couples", "--json")
    assert code == 0
    assert "coupled loss" in [note["kind"] for note in json.loads(out)["notes"]]


def test_the_command_line_names_every_net() -> None:
    assert set(NETS) == set(bnlens.train.NETS)
    assert all(name in run("--help")[1] for name in NETS)


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
        (["{module}:missing"], ["has no 'missing'"]),
        (["{module}.net"], ["use a colon, {module}:net"]),
        (["{module}:half"], ["has weights of float16", ".float()"]),
        (["{module}:meta"], ["meta device", "no weights"]),
        (["{module}:pair"], ["--forward"]),
        (["{module}:net", "--train-steps", "3"], ["--train-steps trains a built-in net", "leave it out"]),
        (["mlp", "--train-steps", "3", "--checkpoint", "w.pt"], ["--train-steps", "--checkpoint"]),
        (["resnet50"], ["ImageNet", "torchvision.models:resnet50", "resnet110"]),
        (["mlp", "--html", "same", "--save", "same"], ["--html and --save name one file"]),
        (["mlp", "--loss", "mse_los"], ["there is no loss 'mse_los'", "'mse_loss'"]),
        (["mlp", "--checkpoint", "."], ["is a folder; give the file"]),
        (["mlp", "-M", "5000"], ["200 samples", "at least 10000", "--statistics-batch-size"]),
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
        (["mlp", "--samples", "10"], ["10 samples", "at least 16 samples"]),
        (["mlp", "--samples", "10", "-M", "2"], ["10 images", "at least 16"]),
        (["mlp", "--png", "r.jpg"], ["--png r.jpg", ".png, .svg or .pdf"]),
        (["mlp", "-M", "1"], ["--statistics-batch-size", "equal to 2"]),
        (["mlp", "--rounds", "0"], ["--rounds", "equal to 1"]),
        (["mlp", "--precision", "0"], ["--precision is 0.0", "above 0"]),
        (["mlp", "--max-seconds", "-1"], ["--max-seconds is -1.0", "above 0"]),
        (["mlp", "--device", "nowhere"], ["--device 'nowhere' cannot be used"]),
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
    fast = OWN if "-M" not in args else [option for option in OWN if option not in ("-M", "8")]
    code, out, err = run(*fast, *(arg.format(module=module, file=file) for arg in args))
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert all(word.format(module=module) in err for word in words), err
    assert not list(tmp_path.glob("*.html"))
