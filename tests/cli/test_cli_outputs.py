"""What commands write: where it cannot be written, that is one sentence, and long work is kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bnlens
from bnlens.cli._outputs import check_outputs
from bnlens.errors import StoreError, UsageError

REPORT = ["report", "mlp", "--rounds", "1", "-M", "8", "--samples", "64", "--train-steps", "1", "--no-shares"]
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device /dev/full of Linux")  # noqa: PTH110


def to_full_device(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "bnlens", *arguments]
        return subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=folder)


@needs_full
@pytest.mark.parametrize(
    "arguments", ["cite", "cite D1 --format bibtex", "theory dynamics", "reproduce --list", "--help", "runs -h", "-V"]
)
def test_a_full_device_is_one_sentence(arguments: str, tmp_path: Path) -> None:
    done = to_full_device(*arguments.split(), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: cannot write to standard output: No space left on device; send it to a place with room\n"
    )


@needs_full
@pytest.mark.parametrize("more", [[], ["--json"], ["--save", "/dev/full"], ["--html", "/dev/full"]])
def test_a_report_that_cannot_be_written_is_kept(more: list[str], tmp_path: Path) -> None:
    done = to_full_device(*REPORT, *more, folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    place = "/dev/full" if len(more) == 2 else "to standard output"
    assert done.returncode == 2
    assert (
        done.stderr
        == f"Error: cannot write {place}: No space left on device; the report is saved in {kept.resolve()}\n"
    )
    assert bnlens.Report.load(kept).samples == 64


def test_a_device_or_a_pipe_is_written_and_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnlens", "cite", "--format", "csl", "--out", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)[0]["id"] == "luo2019towards"
    assert Path("/dev/stdout").is_symlink()


def test_two_options_with_one_file_are_refused(tmp_path: Path) -> None:
    one, link = tmp_path / "r.out", tmp_path / "link"
    link.symlink_to(one)
    for other in (one, tmp_path / "x" / ".." / "r.out", link):
        with pytest.raises(UsageError, match=f"--html and --save name one file, {other}; give two"):
            check_outputs({"--html": one, "--save": other})
    with pytest.raises(UsageError, match="--checkpoint and --save name one file"):
        check_outputs({"--html": None, "--save": one}, {"--checkpoint": one})
    with pytest.raises(StoreError, match="is a folder"):
        check_outputs({"--save": tmp_path})
    check_outputs({"--html": one, "--save": tmp_path / "other"}, {"--checkpoint": None})
    check_outputs({"--html": Path(os.devnull), "--save": Path(os.devnull)})
