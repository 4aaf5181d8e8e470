"""Every script in examples/ runs and prints what it promises."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SLOW = {"quickstart"}  # trains a network
EXAMPLES = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else (), id=path.stem)
    for path in sorted(FOLDER.glob("*.py"))
]


@pytest.mark.parametrize("script", EXAMPLES)
def test_example_runs(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert "±" in printed
    assert "nan" not in printed


def test_there_are_examples() -> None:
    assert EXAMPLES
