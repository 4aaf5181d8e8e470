"""docs/fairness.md says what the register says, and its numbers are those of the stored results that it cites."""

import json
from pathlib import Path

from bnlens.claims import claims
from bnlens.render import MathText, number

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "fairness.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"
CORE = json.loads((RESULTS / "core_claims.json").read_text(encoding="utf-8"))
NETWORKS = json.loads((RESULTS / "networks_cifar10.json").read_text(encoding="utf-8"))["studies"]
STORED = {claim["id"]: claim for claim in [*CORE["claims"], *NETWORKS["where BN helps"]["claims"]]}


def rows(heading: str) -> dict[str, list[list[str]]]:
    """By claim, the cells of its rows in the tables of a section."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found: dict[str, list[list[str]]] = {}
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| claim "):
            claim, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
            found.setdefault(claim, []).append(cells)
    return found


def test_every_claim_is_restated_as_the_register_has_it() -> None:
    found = rows("What the paper says, and what is tested")
    assert list(found) == list(claims())
    for claim in claims().values():
        paper = claim.paper
        words = ["(ours)", "–"] if paper is None else [paper.words, f"{paper.section}; {paper.known}"]
        texts = [*words, claim.statement, (paper and paper.differs) or "–"]
        assert found[claim.id] == [[MathText(text).source for text in texts]]


def test_verdicts_and_numbers_are_those_stored() -> None:
    found = rows("What changed")
    assert list(found) == list(STORED)
    for name, stored in STORED.items():
        (premise, _, *judged, _), *parts = found[name]
        measured, predicted = number(stored["measured"], stored["stderr"]), number(stored["predicted"])
        assert judged == [stored["verdict"], measured, predicted]
        assert dict(parts) == stored["parts"]
        rule = claims()[name].premise
        assert premise == ("–" if rule is None else f"not met if {rule}")
