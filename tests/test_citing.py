import re
import subprocess
import sys

import pytest
import torch
from torch import nn

import bnlens
from bnlens.claims import claims
from bnlens.errors import UsageError
from bnlens.paper import works


def ids(*used: object) -> list[str]:
    return [item["id"] for item in bnlens.cite(*used).items]  # type: ignore[arg-type]


def test_without_arguments_the_paper_is_cited() -> None:
    assert ids() == ["luo2019towards"]


def test_every_claim_names_works_of_the_table() -> None:
    for claim in claims().values():
        assert set(claim.works) <= set(works()), claim.id
        assert len(set(claim.works)) == len(claim.works), claim.id


def test_claims_works_and_lists_are_taken_together_and_each_work_once() -> None:
    register = claims()
    both = list(
        dict.fromkeys(["luo2019towards", *register["L3a"].works, *register["L3b"].works, *register["G2"].works])
    )
    assert ids("l3", register["G2"]) == both
    assert ids(["L3", ["G2"]], "L3", both[-1]) == both
    assert ids("WU2018group") == ["luo2019towards", "wu2018group"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("D10", "'D10' is neither a claim nor a work; did you mean 'D1'?"),
        ("wu2018groups", "'wu2018groups' is neither a claim nor a work; did you mean 'wu2018group'?"),
        ("§", "'§' is neither a claim nor a work; the claims are D1, D2"),
    ],
)
def test_unknown_ids_name_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        bnlens.cite(name)


def test_other_things_cannot_be_cited() -> None:
    with pytest.raises(UsageError, match=r"used has 1.5 in it; give ids, claims or reports"):
        bnlens.cite(1.5)  # type: ignore[arg-type]


def test_a_report_names_what_it_used() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    data = [(torch.randn(64, 4), torch.randint(2, (64,)))]
    how = {"statistics_batch_size": 8, "rounds": 2, "fisher": True, "progress": False}
    with_fisher = ids(bnlens.report(model, data, nn.CrossEntropyLoss(), **how))
    assert {"ioffe2015batch", "pebay2008formulas", "martens2020new"} <= set(with_fisher)
    margin = nn.functional.multi_margin_loss
    other = bnlens.report(model, data, lambda outputs, labels: margin(outputs, labels), reduction="mean", **how)
    assert other.likelihood is None
    assert set(with_fisher) - set(ids(other)) == {"martens2020new", "kunstner2019limitations"}


def test_citing_a_claim_loads_no_torch() -> None:
    code = "import sys, bnlens\nbnlens.cite('D1', 'N4').to_bibtex()\nsys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
