from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import bibtexparser
import pytest
import rispy


def bnlens(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnlens", "cite", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_paper_is_printed_for_people() -> None:
    done = bnlens()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "Luo, P., Wang, X., Shao, W., & Peng, Z. (2019). Towards Understanding Regularization"
    )
    assert done.stdout.count("\n") == 1


def test_formats_are_read_by_their_readers() -> None:
    ris = rispy.loads(bnlens("L1", "--format", "ris").stdout)
    bibtex = bibtexparser.loads(bnlens("L1", "--format", "bibtex").stdout).entries
    csl = json.loads(bnlens("L1", "--format", "csl").stdout)
    endnote = bnlens("L1", "--format", "endnote").stdout
    keys = [item["id"] for item in csl]
    assert keys[0] == "luo2019towards"
    assert "saad1995online" in keys
    assert [entry["id"] for entry in ris] == keys
    assert [entry["ID"] for entry in bibtex] == keys
    assert endnote.count("%0 ") == len(keys)


def test_a_file_is_written(tmp_path: Path) -> None:
    done = bnlens("ba2016layer", "--format", "bibtex", "--out", tmp_path / "new" / "works.bib")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"2 works written to {tmp_path / 'new' / 'works.bib'}\n"
    assert (tmp_path / "new" / "works.bib").read_text(encoding="utf-8").count("@") == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["D10"], "Error: 'D10' is neither a claim nor a work; did you mean 'D1'?\n"),
        (["D1", "--out", "."], "Error: cannot write .: it is a folder; give a file name\n"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments: list[str], sentence: str) -> None:
    done = bnlens(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_help_loads_no_torch() -> None:
    code = (
        "import sys, bnlens.cli\nsys.argv = ['bnlens', 'cite', *sys.argv[1:]]\n"
        "try:\n    bnlens.cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    for arguments in (["--help"], ["N4", "D5"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout
