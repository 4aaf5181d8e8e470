from __future__ import annotations

import json
from pathlib import Path

import bibtexparser
import pytest
import rispy
from cli_runs import bnlens, without_torch


def test_the_paper_is_printed_for_people() -> None:
    done = bnlens("cite")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith(
        "Luo, P., Wang, X., Shao, W., & Peng, Z. (2019). Towards Understanding Regularization"
    )


def test_formats_are_read_by_their_readers() -> None:
    ris, bibtex, csl, endnote = (
        bnlens("cite", "L1", "--format", form).stdout for form in ("ris", "bibtex", "csl", "endnote")
    )
    keys = [item["id"] for item in json.loads(csl)]
    assert keys[0] == "luo2019towards"
    assert "saad1995online" in keys
    assert [entry["id"] for entry in rispy.loads(ris)] == keys
    assert [entry["ID"] for entry in bibtexparser.loads(bibtex).entries] == keys
    assert endnote.count("%0 ") == len(keys)


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
