import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_claims import claim, squares

from bnlens.claims import Claim, Setup, claims, reproduce, stored_run
from bnlens.claims._setup import Scale, resolve
from bnlens.errors import DataError, UsageError
from bnlens.runs import Job, Record

DEFAULTS: dict[str, Any] = {"count": 3, "lr": 0.3, "net": "cnn", "M": [8, "inf"], "augment": False}


def counted(marker: Path) -> Claim:
    def jobs(setup: Setup) -> list[Job]:
        return squares(marker, setup.parameters["count"])

    made = claim("T9", jobs)
    return Claim(**{**vars(made), "parameters": lambda _scale, _data: DEFAULTS})


def test_a_parameter_changes_what_is_planned_and_run(tmp_path: Path) -> None:
    toy = counted(tmp_path / "markers")
    assert [job.name for job in toy.plan()] == ["square-0", "square-1", "square-2"]
    assert len(toy.plan("full", None, {"count": 5})) == 5
    run = reproduce([toy], out=tmp_path / "out", workers=1, parameters={"T9": {"count": 2}}).runs[0]
    assert [record.job for record in run.records] == ["square-0", "square-1"]


@pytest.mark.parametrize("changes", [{"lr": 1}, {"M": [4]}, {"M": ["inf", 16, 2]}, {"augment": True}, {"net": "mlp"}])
def test_values_of_the_right_type_are_taken(changes: dict[str, Any]) -> None:
    assert resolve("T9", DEFAULTS, changes) == {**DEFAULTS, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuont": 2}, "T9 has no parameter 'cuont'; did you mean 'count'"),
        ({"zzz": 2}, r"give one of its own \(its parameters are count, lr, net, M, augment\)"),
        ({"count": 2.5}, "parameter 'count' must be a whole number, such as 3, got 2.5"),
        ({"count": True}, "must be a whole number"),
        ({"lr": "high"}, "must be a number, such as 0.3, got 'high'"),
        ({"net": 3}, "must be a text"),
        ({"M": 8}, r"must be a list, such as \[8, 'inf'\], got 8"),
        ({"M": []}, "must be a list"),
        ({"M": [8, 1.5]}, "must be a list"),
        ({"augment": 1}, "must be true or false"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve("T9", DEFAULTS, changes)


def test_a_claim_without_parameters_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="T1 has no parameters, so 'seeds' cannot be set"):
        reproduce([claim("T1", lambda setup: [])], out=tmp_path, parameters={"T1": {"seeds": 2}})


NEVER: list[Any] = [
    None,
    {},
    [],
    [None],
    "",
    "alexnet",
    "resnet50",
    [["cnn"]],
    -1,
    0,
    [-1],
    [0],
    float("nan"),
    float("inf"),
]
NEVER += [[float("nan")], [2, -3], -0.5, [1.5, 0], 2**70, [2**70], "2", ["2"]]
SETTINGS = [
    (claim, name) for claim in claims().values() if claim.parameters for name in claim.parameters("quick", None)
]


@pytest.mark.parametrize(("claim", "name"), SETTINGS, ids=[f"{claim.id}-{name}" for claim, name in SETTINGS])
def test_no_job_is_planned_with_a_value_that_cannot_work(claim: Claim, name: str) -> None:
    for value in [*NEVER, True] if name not in ("augment", "population") else NEVER:
        with pytest.raises((UsageError, DataError), match=rf"^{claim.id}: .*'{name}'.*") as caught:
            claim.plan(changes={name: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("claim_id", [claim.id for claim, name in SETTINGS if name == "samples"])
def test_more_images_than_there_are_is_said_before_any_job(claim_id: str) -> None:
    with pytest.raises(DataError, match=rf"^{claim_id}: digits, train split: 1500 balanced samples"):
        claims()[claim_id].plan(changes={"samples": 1500})


def test_a_plan_without_a_look_at_data_and_nets_is_the_same_and_loads_no_pytorch() -> None:
    script = """
import sys
from pathlib import Path
from bnlens.claims import claims
for claim in claims().values():
    for scale, data in (("quick", None), ("quick", Path("none")), ("full", Path("none"))):
        claim.plan(scale, data, check=False)
assert not {"torch", "sklearn"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    for each in claims().values():
        assert each.plan(check=False) == each.plan(), each.id


@pytest.mark.parametrize("scale", ["quick", "full"])
@pytest.mark.parametrize("name", ["D5", "D8", "E3", "N2"])
def test_results_are_found_where_their_data_are_gone(name: str, scale: Scale, tmp_path: Path) -> None:
    jobs = claims()[name].plan(scale, tmp_path / "gone", check=False)
    ends = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:01+00:00", "seconds": 1.0}
    record = Record("key", name, "old name", jobs[-1].function_name, jobs[-1].config, "", "done", **ends)
    found = stored_run(claims()[name], [record])
    assert found is not None
    assert (found.scale, found.data, found.jobs, found.is_current) == (scale, "gone", len(jobs), False)
    assert [each.job for each in found.run.records] == [jobs[-1].name]
