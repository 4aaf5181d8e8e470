from pathlib import Path

import pytest
from cli_runs import bnlens, without_torch

from bnlens.citing import cite


def test_the_paper_is_printed_for_people() -> None:
    done = bnlens("cite")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith(
        "Luo, P., Wang, X., Shao, W., & Peng, Z. (2019). Towards Understanding Regularization"
    )


@pytest.mark.parametrize("form", ["text", "ris", "endnote", "bibtex", "csl"])
def test_formats_are_the_librarys(form: str) -> None:  # which tests/paper reads with other programs
    assert bnlens("cite", "L1", "--format", form).stdout == cite("L1").to_format(form)


def test_a_file_is_written(tmp_path: Path) -> None:
    done = bnlens("cite", "ba2016layer", "--format", "bibtex", "--out", tmp_path / "new" / "works.bib")
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
    done = bnlens("cite", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_help_loads_no_torch() -> None:
    assert without_torch("cite", "--help")
    assert without_torch("cite", "N4", "D5")
