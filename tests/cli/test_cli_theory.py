"""The verb ``theory``: its tables against the library, its files, and one sentence for each mistake."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnlens.cli import _app
from bnlens.theory.dynamics import BatchNorm, GammaDecay
from bnlens.theory.generalization import Ridge, learning_curve
from bnlens.theory.learning_rate import max_learning_rate, stationary_state


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(_app(), ["theory", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


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


def test_gamma_decay_has_the_papers_zeta_unless_told() -> None:
    for options, zeta in ((), 0.75 / 8), (("--zeta", "0.2"), 0.2):
        expected = GammaDecay(unit="linear", learning_rate=1.0, batch_size=8, zeta=zeta).solve([5])
        (found,) = rows("dynamics", "gamma-decay", "--tau", "5", *options)
        assert float(found["gamma"]) == pytest.approx(float(expected.gamma[0]))


def test_dynamics_beside_simulation(tmp_path: Path) -> None:
    plot = tmp_path / "curve.html"
    arguments = ["dynamics", "sgd", "--tau", "1,3", "--simulate", "--size", "100", "--runs", "6", "--plot", str(plot)]
    code, out, err = run(*arguments, "--format", "json")
    assert code == 0
    assert f"Written: {plot}" in err
    data = json.loads(out)
    assert (data["system"], data["size"], data["runs"], data["zeta"]) == ("sgd", 100, 6, None)
    for row in data["rows"]:
        assert abs(row["simulated_R"] - row["R"]) < 4 * row["simulated_R_stderr"] + 2 / 100
    page = plot.read_text()
    assert "Learning dynamics: sgd, linear unit" in page
    assert "overlap R, N = 100" in page
    assert json.loads(run(*arguments, "--format", "json")[1]) == data  # by the seed


def test_rates_are_the_librarys(tmp_path: Path) -> None:
    plot = tmp_path / "rates.html"
    code, out, _ = run("rates", "--learning-rate", "8,20", "--format", "json", "--plot", str(plot))
    assert code == 0
    data = json.loads(out)
    assert [found["holds"] for found in data["orderings"]] == [True, False, False, False]
    found = {(row["system"], row["learning_rate"]): row for row in data["rows"]}
    assert len(found) == 6
    for rate in (8.0, 20.0):
        system = BatchNorm(unit="linear", learning_rate=rate, batch_size=8)
        row = found["batch-norm", rate]
        assert row["max_learning_rate"] == pytest.approx(max_learning_rate(system))
        assert row["R"] == pytest.approx(stationary_state(system).R)
    assert found["batch-norm", 20.0]["R"] ** 2 == pytest.approx(found["batch-norm", 20.0]["max_learning_rate"] / 20)
    assert "Stationary overlap" in plot.read_text()


def test_rates_beside_simulation() -> None:
    found = rows(*["rates", "--learning-rate", "8", "--simulate", "--size", "100", "--runs", "4", "--tau", "5"])
    for row in found:
        assert abs(float(row["simulated_R"]) - float(row["R"])) < 4 * float(row["simulated_R_stderr"]) + 3 / 100


def test_generalization_is_the_librarys_beside_simulation(tmp_path: Path) -> None:
    plot = tmp_path / "curve.html"
    found = rows(
        *[
            "generalization",
            "ridge",
            "--decay",
            "0.1",
            "--alpha",
            "0.5,2",
            "--simulate",
            "--runs",
            "8",
            "--dimension",
            "80",
        ],
        "--plot",
        str(plot),
    )
    expected = learning_curve(Ridge(decay=0.1, label_noise=0.25), [0.5, 2])
    assert [float(row["error"]) for row in found] == pytest.approx(expected.error)
    assert {row["status"] for row in found} == {"asymptotic"}
    for row in found:
        assert abs(float(row["simulated_error"]) - float(row["error"])) < 4 * float(row["simulated_error_stderr"])
    assert "simulated, N = 80" in plot.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("least-squares",),
        ("gamma-decay", "--zeta", "0.1"),
        ("batch-norm", "-M", "8"),
        ("relu", "--decay", "0.25"),
        ("relu", "--decay", "0.25", "--teacher", "linear"),
    ],
)
def test_every_estimator_has_a_curve_and_json_has_no_infinity(arguments: tuple[str, ...]) -> None:
    code, out, _ = run("generalization", *arguments, "--alpha", "1,4", "--format", "json")
    assert code == 0
    data = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data["rows"][1]["error"] > 0
    assert data["basis"]
    assert (data["rows"][0]["error"] is None) == (arguments[0] in ("least-squares", "batch-norm"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("dynamics --tau 3:1:1", "--tau is '3:1:1'; give numbers as 0.5,1,2 or a range START:STOP:STEP"),
        ("dynamics --tau 0:1:0", "--tau is '0:1:0'; give numbers"),
        ("dynamics --tau a,b", "--tau is 'a,b'; give numbers"),
        ("dynamics --tau 1:2", "--tau is '1:2'; give numbers"),
        ("dynamics --tau 0,nan", "--tau is '0,nan'; give numbers"),
        ("dynamics sgd --zeta 1", "--zeta is the coefficient of gamma-decay; leave it out for sgd"),
        ("dynamics -M 2", "batch_size=2 is not possible: BatchNorm needs a whole number of samples, 4 or more"),
        ("dynamics --plot x.pdf", "--plot x.pdf ends in '.pdf'; give a file that ends in .html or .png"),
        ("dynamics --plot x", "--plot x ends in 'nothing'; give a file"),
        ("dynamics other", "'other' is not one of"),
        ("generalization ridge", "ridge needs --decay"),
        ("generalization", "batch-norm needs --batch-size"),
        ("generalization ridge --decay 1 --zeta 1", "--zeta has no meaning for ridge; leave it out"),
        ("generalization ridge --decay 1 --teacher relu", "--teacher has no meaning for ridge; leave it out"),
        ("generalization -M 8 --alpha=-1", "give positive finite numbers"),
    ],
)
def test_mistakes_get_one_sentence(arguments: str, sentence: str) -> None:
    code, out, err = run(*arguments.split())
    assert code == 2
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


def test_a_picture_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)  # as if it were not installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run("dynamics", "--plot", str(tmp_path / "curve.png"))
    assert code == 2
    assert "needs the package kaleido; install bnlens[png], or give a file that ends in .html" in err


def test_curves_need_no_torch() -> None:
    code = (
        "import sys\nfrom bnlens.cli import _app\n"
        "_app()(['theory', 'generalization', 'ridge', '--decay', '1'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("alpha,error")
