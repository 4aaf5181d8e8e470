"""README.md and docs/claims.md: every command and line of Python runs, and the numbers are those that are stored."""

import contextlib
import io
import json
import math
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import bnlens
from bnlens.claims import claims
from bnlens.cli import _app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLAIMS = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for page in (README, CLAIMS)
    for language, block in FENCED.findall(page)
    if language == "sh"
    for line in block.splitlines()
]
OURS = {" ".join(parts): parts[1:] for parts in COMMANDS if parts[0] == "bnlens" and parts[1:] != ["reproduce"]}
LONG = {"report", "serve"}  # train a network, draw all pages
ESTIMATE = re.compile(r"\(?(-?[\d.]+) ± ([\d.]+)\)?(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?")


def blocks(language: str) -> list[str]:
    return [block for fence, block in FENCED.findall(README) if fence == language]


def estimates(text: str) -> list[tuple[float, float]]:
    """Values with their errors, in the order of the text."""
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    found = [(float(a), float(b), 10.0 ** int(power.translate(digits) or 0)) for a, b, power in ESTIMATE.findall(text)]
    return [(value * scale, error * scale) for value, error, scale in found]


def words(text: str) -> str:
    """A text without its numbers and spaces, which differ from machine to machine."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", ESTIMATE.sub("#", text)).split())


@pytest.fixture(scope="module")
def measured() -> tuple[dict[str, Any], str]:
    """Names that the first lines of Python define, and what they print."""
    names: dict[str, Any] = {}
    torch.manual_seed(1)  # other groups than those of the README
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "80")
        exec(compile(blocks("python")[0], "README.md, Measure", "exec"), names)  # noqa: S102 - our own text
    return names, printed.getvalue()


@pytest.mark.slow
def test_the_report_reads_as_shown(measured: tuple[dict[str, Any], str]) -> None:
    shown = blocks("")[0].split("...\n")
    rest = measured[1]
    for part in filter(None, shown):
        assert words(part) in words(rest)
        first = part.strip().splitlines()[0]
        there = rest[rest.index(first.split(" adds ")[0]) :]  # from the same place on
        for (value, error), (again, its_error) in zip(estimates(part), estimates(there), strict=False):
            assert abs(value - again) < 5 * math.hypot(error, its_error)


@pytest.mark.slow
def test_m_is_set_as_shown(measured: tuple[dict[str, Any], str]) -> None:
    names = dict(measured[0])
    images, labels = names["digits"].images[:64], names["digits"].labels[:64]
    exec(compile(blocks("python")[1], "README.md, Set M", "exec"), names | {"images": images, "labels": labels})  # noqa: S102
    layers = [each for each in names["model"].modules() if isinstance(each, bnlens.nn.DialBatchNorm)]
    assert len(layers) == 4
    assert all(layer.statistics_batch_size == 64 for layer in layers)
    assert all(0 < layer.weight.grad.abs().sum() < math.inf for layer in layers)


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(each, id=line, marks=pytest.mark.slow if {*each} & LONG else ()) for line, each in OURS.items()],
)
def test_commands_run(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "path/to/cifar10" in arguments:  # its reading and its claim have tests of their own
        arguments = [*arguments[: arguments.index("--scale")], "--list"]
    result = CliRunner().invoke(_app(), arguments)
    assert result.exit_code == 0, result.output
    for option in ("--html", "--export"):
        if option in arguments:
            assert (tmp_path / arguments[arguments.index(option) + 1]).exists()


def test_targets_and_extras_are_there() -> None:
    targets = {arguments[0] for name, *arguments in COMMANDS if name == "make"} | {*re.findall(r"`make (\w+)`", README)}
    assert {"reproduce", "test", "docs"} <= targets
    plans = {}
    for target in sorted(targets):
        # ARGS of the make that runs these tests is handed down, unless it is given anew
        command = ["make", "--dry-run", target, "ARGS="]
        plans[target] = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert re.search(r"/bnlens reproduce *$", plans["reproduce"], re.MULTILINE)  # which tests/claims run, job by job
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    installs = [arguments for name, *arguments in COMMANDS if name == "pip"]
    assert installs
    for _, _, constraints, what in installs:
        assert (ROOT / constraints).is_file()
        assert {*re.findall(r"\w+", what)} <= {*extras}


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def slugs(page: Path) -> set[str]:
    """The anchors of a document's headings, as forges and the site make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    prose = re.sub(r"`[^`]*`", "", FENCED.sub("", page.read_text(encoding="utf-8")))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        target, _, anchor = link.partition("#")
        if ":" not in link:
            file = page.parent / target if target else page
            assert file.exists(), link
            assert not anchor or anchor in slugs(file), link


def stored() -> dict[str, dict[str, Any]]:
    """Claims on CIFAR-10 as they were computed, by id."""
    results = ROOT / "benchmarks" / "results"
    found = [
        *json.loads((results / "core_claims.json").read_text())["claims"],
        *json.loads((results / "d5_cifar10.json").read_text())["claims"],
        *json.loads((results / "dial_cifar10.json").read_text())["claims"],
        *json.loads((results / "device_batch_cifar10.json").read_text())["claims"],  # N2 anew
    ]
    studies = json.loads((results / "networks_cifar10.json").read_text())["studies"]
    found += [*studies["4-conv net"]["claims"], *studies["where BN helps"]["claims"]]  # E1 anew
    return {claim["id"]: claim for claim in found}


def test_every_claim_is_in_the_tables_once() -> None:
    assert sorted(re.findall(r"^\| ([A-Z]\d[a-z]?) \| (?!\[)", CLAIMS, re.MULTILINE)) == sorted(claims())


def test_verdicts_are_those_that_are_stored() -> None:
    rows = dict(re.findall(r"^\| ([A-Z]\d[a-z]?) \| [^|]+ \| ([^|]+) \|", CLAIMS, re.MULTILINE))
    assert len(stored()) == 25
    for claim, result in stored().items():
        assert re.search(rf"(^|, ){result['verdict']}( on CIFAR-10$|:|$)", rows[claim].strip()), claim


def test_what_a_report_cannot_tell_is_measured() -> None:
    summary = stored()["E7"]["summary"]
    assert "test loss from training at M by 0.24 (95%: 0.02 to 0.78)" in summary
    assert "rise of train loss by 0.96 (95%: 0.87 to 0.99)" in summary
    text = " ".join(README.split())
    assert "by 0.96 with the rise of train loss" in text
    assert "by only 0.24 with the fall of test loss (95%: 0.02 to 0.78;" in text
    assert "train loss 0.96 (0.87 to 0.99), with the fall of test loss 0.24 (0.02 to 0.78)" in CLAIMS
    shared = {row["device batch"]: row for row in stored()["N2"]["rows"]}
    assert f"micro-batches of 8 close {shared[8]['train loss, shared, closed']:.0%}" in text
