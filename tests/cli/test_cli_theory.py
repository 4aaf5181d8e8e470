"""The verb ``theory``: its tables against the library, its files, and one sentence for each mistake."""

import csv
import io
import json
import math
import re
from functools import partial
from pathlib import Path

import pytest
from cli_runs import in_process, without_torch

from bnlens.labs import LABS, Lab
from bnlens.theory.dynamics import BatchNorm
from bnlens.theory.generalization import BatchNorm as BatchNormCurve
from bnlens.theory.generalization import Estimator, LeastSquares, ReluRidge, Ridge, WeightNormDecay, learning_curve
from bnlens.theory.learning_rate import effective_learning_rate, fixed_point, max_learning_rate, stationary_state

run = partial(in_process, "theory")


def rows(*args: str) -> list[dict[str, str]]:
    code, out, _ = run(*args)
    assert code == 0
    return list(csv.DictReader(io.StringIO(out)))


def test_dynamics_are_the_librarys() -> None:
    system = BatchNorm(unit="relu", learning_rate=0.5, batch_size=16, label_noise=0.1)
    expected = system.solve([0, 2, 4], gamma=0.5, R=0.1, L=1.2)
    found = rows(
        *["dynamics", "batch-norm", "--unit", "relu", "--learning-rate", "0.5", "-M", "16", "--label-noise", "0.1"],
        *["--tau", "0:4:2", "--gamma", "0.5", "--overlap", "0.1", "--norm", "1.2"],
    )
    assert [float(row["tau"]) for row in found] == [0, 2, 4]
    for name in ("gamma", "R", "L", "generalization_error"):
        assert [float(row[name]) for row in found] == pytest.approx(getattr(expected, name))


def test_rates_are_the_librarys() -> None:
    code, out, _ = run("rates", "--learning-rate", "8,20", "--norm", "1.5", "--format", "json")
    assert code == 0
    data = json.loads(out)
    assert (data["unit"], data["batch_size"], data["norm"]) == ("linear", 8, 1.5)
    assert [found["holds"] for found in data["orderings"]] == [True, False, False, False]
    systems = [name for name in ("weight-norm", "gamma-decay", "batch-norm") for _ in (8, 20)]
    assert [row["system"] for row in data["rows"]] == systems
    for row, rate in zip(data["rows"][-2:], (8.0, 20.0), strict=True):
        system = BatchNorm(unit="linear", learning_rate=rate, batch_size=8)
        assert row["learning_rate"] == rate
        assert row["gamma0"] == pytest.approx(fixed_point(system).gamma)
        assert row["max_learning_rate"] == pytest.approx(max_learning_rate(system, norm=1.5))
        assert row["effective_learning_rate"] == pytest.approx(effective_learning_rate(system, norm=1.5))
        assert row["R"] == pytest.approx(stationary_state(system, norm=1.5).R)


@pytest.mark.parametrize(
    ("arguments", "name", "finite_size", "facts", "words"),
    [
        (
            "dynamics gamma-decay --zeta 0.2 --tau 1,3 --size 100 --runs 6",
            "R",
            0.02,
            {"system": "gamma-decay", "zeta": 0.2, "size": 100, "runs": 6, "seed": 0},
            ["Learning dynamics: gamma-decay, linear unit", "overlap R, N = 100"],
        ),
        (
            "rates --learning-rate 8 --size 100 --runs 4 --tau 5",
            "R",
            0.03,
            {"unit": "linear"},
            ["Stationary overlap at norm 1, batches of 8, linear unit", "batch normalization, N = 100"],
        ),
        (
            "generalization ridge --decay 0.1 --alpha 0.5,2 --runs 8 --dimension 80",
            "error",
            0,
            {"estimator": "ridge", "decay": 0.1, "dimension": 80, "runs": 8, "seed": 0, "status": "asymptotic"},
            ["Generalization: ridge", "simulated, N = 80"],
        ),
    ],
)
def test_simulation_and_figure_beside_the_table(
    arguments: str, name: str, finite_size: float, facts: dict, words: list[str], tmp_path: Path
) -> None:
    plot = tmp_path / "curve.html"
    code, out, err = run(*arguments.split(), "--simulate", "--plot", str(plot), "--format", "json")
    assert (code, err.strip()) == (0, f"Written: {plot}")
    data = json.loads(out)
    assert facts.items() <= data.items()
    for row in data["rows"]:
        assert abs(row[f"simulated_{name}"] - row[name]) < 4 * row[f"simulated_{name}_stderr"] + finite_size
    assert [word for word in words if word not in plot.read_text()] == []
    again = rows(*arguments.split(), "--simulate")  # the same numbers, by the seed
    assert [float(row[f"simulated_{name}"]) for row in again] == [row[f"simulated_{name}"] for row in data["rows"]]


@pytest.mark.parametrize(
    ("arguments", "estimator"),
    [
        ("least-squares", LeastSquares(0.25)),
        ("ridge --decay 0.1", Ridge(0.1, 0.25)),
        ("gamma-decay --zeta 0.1 --label-noise 0", WeightNormDecay(0.1)),
        ("batch-norm -M 8", BatchNormCurve(8, 0.25)),
        ("relu --decay 0.25", ReluRidge(0.25, 0.25)),
        ("relu --decay 0.25 --teacher linear", ReluRidge(0.25, 0.25, teacher="linear")),
    ],
)
def test_generalization_is_the_librarys_and_json_has_no_infinity(arguments: str, estimator: Estimator) -> None:
    command = ["generalization", *arguments.split(), "--alpha", "1,4"]
    code, out, _ = run(*command, "--format", "json")
    assert code == 0
    data = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    curve = learning_curve(estimator, [1, 4])
    errors = curve.error.tolist()
    finite = [pytest.approx(error) if math.isfinite(error) else None for error in errors]
    assert [row["error"] for row in data["rows"]] == finite
    assert (data["status"], data["basis"]) == (curve.status, curve.basis)
    assert [float(row["error"]) for row in rows(*command)] == pytest.approx(errors)
    assert {row["status"] for row in rows(*command)} == {curve.status}


@pytest.mark.parametrize("lab", [lab for lab in LABS if lab.command is not None], ids=lambda lab: lab.id)
def test_help_has_every_option_with_its_default(lab: Lab) -> None:
    code, out, _ = run(lab.id, "--help")
    words = " ".join(out.split())
    assert code == 0
    for parameter in lab.parameters:
        if parameter.option is not None:
            assert parameter.option.help in words
            default = parameter.default if parameter.option.default is ... else parameter.option.default
            shown = parameter.option.shown or default
            assert shown in (None, "no") or f"{shown}" in words
    assert "--format" in words
    assert "--plot FILE" in words


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("dynamics --tau 3:1:1", "--tau is '3:1:1'; give numbers as 0.5,1,2 or a range START:STOP:STEP"),
        ("dynamics --tau 0:1:0", "--tau is '0:1:0'; give numbers"),
        ("dynamics --tau a,b", "--tau is 'a,b'; give numbers"),
        ("dynamics --tau 1:2", "--tau is '1:2'; give numbers"),
        ("dynamics --tau 0,nan", "--tau is '0,nan'; give numbers"),
        ("dynamics sgd --zeta 1", "--zeta is the coefficient of gamma-decay; leave it out for sgd"),
        ("dynamics -M 2", "--batch-size 2 is not possible: BatchNorm needs a whole number of samples, 4 or more"),
        ("dynamics --plot x.gif", "--plot x.gif ends in '.gif'; give a file that ends in .html, .png, .svg or .pdf"),
        ("dynamics --plot x", "--plot x ends in 'nothing'; give a file"),
        ("dynamics other", "'other' is not one of"),
        ("generalization ridge", "ridge needs --decay"),
        ("dynamics --size 100", "--size has no effect without --simulate; add that, or leave --size out"),
        ("rates --runs 4", "--runs has no effect without --simulate"),
        ("generalization --seed 1", "--seed has no effect without --simulate"),
        ("dynamics --overlap 3", "--overlap is 3.0; it must be a number from -1 to 1"),
        ("rates --norm nan", "--norm is nan; give a finite number"),
        ("generalization ridge --decay 1 --zeta 1", "--zeta has no meaning for ridge; leave it out"),
        ("generalization ridge --decay 1 --teacher relu", "--teacher has no meaning for ridge; leave it out"),
        ("generalization -M 8 --alpha=-1", "it must be a number or an array of finite numbers above 0"),
    ],
)
def test_mistakes_get_one_sentence(arguments: str, sentence: str) -> None:
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_a_picture_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run("dynamics", "--plot", str(tmp_path / "curve.png"))
    assert code == 2
    assert "needs matplotlib or kaleido to be drawn; pip install -c constraints.txt '.[png]' in a clone" in err


@pytest.mark.parametrize("ending", ["html", "png", "svg", "pdf"])
def test_the_figure_has_many_points_where_the_table_has_few(ending: str, tmp_path: Path) -> None:
    plot = tmp_path / f"rates.{ending}"
    code, out, err = run("rates", "--learning-rate", "4,8,12,16,20", "--plot", str(plot))
    assert (code, err, len(out.splitlines())) == (0, f"Written: {plot}\n", 1 + 3 * 5)
    assert plot.stat().st_size > 10_000
    if ending == "html":
        page = plot.read_text()
        assert page.count("Stationary overlap at norm 1, batches of 8, linear unit</") == 1  # the caption
        drawn = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
        curve = next(trace for trace in drawn["data"] if trace["name"] == "batch normalization")
        # theory sheet B.2: the linear unit leaves R = 1 at 2 (M - 3) b / c = 40 / 3
        leaves = max(x for x, y in zip(curve["x"], curve["y"], strict=True) if y > 1 - 1e-6)
        assert leaves == pytest.approx(40 / 3)
        assert len(curve["x"]) > 100


def test_generalization_begins_with_bn_over_8_as_the_other_labs_do() -> None:
    assert rows("generalization") == rows("generalization", "batch-norm", "-M", "8")
    assert rows("generalization", "relu", "--decay", "1") == rows(
        "generalization", "relu", "--decay", "1", "--teacher", "relu"
    )


def test_curves_need_no_torch() -> None:
    assert without_torch("theory", "generalization", "ridge", "--decay", "1").startswith("alpha,error")
