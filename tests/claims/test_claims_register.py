import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import bnlens.claims
from bnlens.claims import Claim, Known, claims, get_claims
from bnlens.errors import UsageError

CLAIM_FILE = """
from toy_claims import claim
CLAIM = claim("{id}", lambda setup: [])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the one that holds the claims of bnlens."""
    monkeypatch.setattr(bnlens.claims, "__path__", [str(tmp_path)])
    for name, claim_id in {"z10_toy": "Z10", "z2_toy": "Z2", "y1_toy": "Y1"}.items():
        (tmp_path / f"{name}.py").write_text(CLAIM_FILE.format(id=claim_id))
        monkeypatch.delitem(sys.modules, f"bnlens.claims.{name}", raising=False)
    (tmp_path / "_shared.py").write_text("raise RuntimeError")
    (tmp_path / "runner.py").write_text("raise RuntimeError")
    return tmp_path


def test_files_named_after_claims_are_found_in_order(folder: Path) -> None:
    assert list(claims()) == ["Y1", "Z2", "Z10"]


def test_claims_are_found_in_either_case_and_once(folder: Path) -> None:
    assert [claim.id for claim in get_claims(["z10", "Y1", "Z10"])] == ["Z10", "Y1"]


def test_an_unknown_id_names_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown claim 'Z11'; did you mean Z10 \(the claims are Y1, Z2, Z10\)"):
        get_claims(["Z11"])


def test_a_file_named_after_another_claim_is_refused(folder: Path) -> None:
    (folder / "x3_toy.py").write_text(CLAIM_FILE.format(id="X4"))
    with pytest.raises(ValueError, match=r"x3_toy\.py defines claim X4"):
        claims()


@pytest.mark.parametrize("claim", claims().values(), ids=lambda claim: claim.id)
def test_a_claim_of_bnlens_is_said_in_sentences_and_graded_in_words(claim: Claim) -> None:
    assert claim.title
    assert claim.source
    assert claim.statement.endswith(".")
    assert claim.agreement.endswith(".")
    assert re.search(r"Holds: .+ approximately: ", claim.agreement)
    if claim.paper is not None:
        assert claim.paper.words.endswith(".")
        assert claim.paper.section
        assert claim.paper.known in get_args(Known)
        assert claim.paper.differs is None or claim.paper.differs.endswith(".")
    assert claim.premise is None or claim.premise in claim.agreement


def test_only_claims_of_this_library_are_without_the_papers_words() -> None:
    assert [claim.id for claim in claims().values() if claim.paper is None] == ["E7", "N1", "N2", "N4", "N5"]


def test_the_name_of_parts_stands_for_them(folder: Path) -> None:
    for name in ("x1a_toy", "x1b_toy", "x10_toy"):
        (folder / f"{name}.py").write_text(CLAIM_FILE.format(id=name.partition("_")[0].replace("x", "X")))
    assert list(claims()) == ["X1a", "X1b", "X10", "Y1", "Z2", "Z10"]
    assert [claim.id for claim in get_claims(["x1", "X1A"])] == ["X1a", "X1b"]
    with pytest.raises(UsageError, match="unknown claim 'X'"):
        get_claims(["X"])


def test_the_claims_of_bnlens_are_all_found_in_order() -> None:
    ids = "D1 D2 D3 D4 D5 D6 D7 D8 E1 E2 E3 E4 E5 E6 E7 E8 E9 G1 G2 G3a G3b G4 L1 L2 L3a L3b L4 N1 N2 N3 N4 N5"
    assert list(claims()) == ids.split()


def test_listing_the_claims_does_not_load_torch() -> None:
    code = "import sys, bnlens.claims as c; c.claims(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
