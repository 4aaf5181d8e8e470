"""Wrong values for each argument of all that is public: refused in one sentence that names it, or accepted for a reason.

The cases come from the signatures, so that a function that is added is tried too. Right values go by the arguments' names.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch.distributed as dist
from torch import nn

import bnlens
from bnlens._arguments import shown
from bnlens.errors import BnlensError
from right_arguments import INSTANCES, RIGHT, SPECIAL

# `errors` has classes alone; `claims` is the register behind the command line, whose tests try wrong values.
ROOMS = [
    "",
    *(
        f".{name}"
        for name in bnlens.__all__
        if isinstance(getattr(bnlens, name), types.ModuleType) and name not in ("claims", "errors")
    ),
    *(f".theory.{name}" for name in ("dynamics", "generalization", "learning_rate")),
    *(".simulate.generalization", ".train.data", ".train.nets"),
]

WRONG: dict[str, Any] = {
    "None": None,
    "str": "nonsense",
    "nan": float("nan"),
    "inf": float("inf"),
    "-1": -1,
    "2.5": 2.5,
    "2**70": 2**70,
    "list": [None],
    "object": object(),
}

# What functions of bnlens make and no user does: methods are tried, making one is not.
RESULTS = {
    *("Averages", "ClaimRun", "Comparison", "Counts", "CrossEstimates", "CrossSums", "Difference", "Edge", "Estimate"),
    *(
        "Evaluation",
        "Finding",
        "FixedPoint",
        "GammaEstimate",
        "GammaShrink",
        "GapEstimate",
        "GapLaw",
        "GapShares",
        "Gaps",
    ),
    *(
        "History",
        "KeyTerm",
        "LayerResult",
        "LearningCurve",
        "MomentEstimates",
        "MomentSums",
        "Network",
        "NetworkResult",
    ),
    *("Node", "Note", "OptimalDecay", "OrderParameters", "Ordering", "PageFacts", "Paper", "Prediction", "Predictions"),
    *("Recalibration", "ReplicaSolution", "Report", "Reproduction", "Results", "SimulatedCurve", "SimulatedTrajectory"),
    *("Stability", "StationaryState", "StoredRun", "Student", "TermComparison", "Trajectory"),
}
MAKERS = {"of_linear"}


class Case(NamedTuple):
    """Something public to call, and the parameters that it has beside ``self``."""

    name: str
    item: Callable[..., Any]
    parameters: dict[str, inspect.Parameter]


NEVER = {"theory.Population.density_at"}  # a finite population has no density: it is there to say so
NUMBERS = ("float", "Array", "BatchSizes", "Correlation", "Dropout", "Loads", "Positive", "NotNegative")
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

# Why a number below zero, or an infinite one, is accepted: by the argument's name.
FOREIGN = {("shared_statistics", "inputs")}  # the model's own, and so are the errors
SIGNED = {
    **dict.fromkeys(("R", "correlation", "overlap"), "student and teacher may point apart"),
    **dict.fromkeys(("beta", "teacher_beta"), "a shift"),
    **dict.fromkeys(("gamma", "teacher_gamma"), "a scale, whose sign the weights can take"),
    **dict.fromkeys(("lower", "output", "point", "upper", "x"), "a pre-activation"),
    **dict.fromkeys(("skewness", "excess_kurtosis"), "a cumulant"),
    "mean": "of a channel",
    "eps": "of a layer that only evaluates, as torch takes it",
}
INFINITE = {
    **dict.fromkeys(("batch_size", "schedule", "statistics_batch_size"), "the whole population"),
}
OTHER = {
    **dict.fromkeys((("schedule", "None"), ("statistics_batch_size", "None")), "the batch at hand"),
}


def ending(table: dict[str, Any], name: str) -> Any:
    """Return the entry for the longest end of a dotted name."""
    parts = name.split(".")
    return next((table[key] for i in range(len(parts)) if (key := ".".join(parts[i:])) in table), None)


def public() -> Iterator[tuple[str, Any]]:
    """Yield each public function and class once, by its shortest name."""
    known = set()
    for room in ROOMS:
        module = importlib.import_module(f"bnlens{room}")
        for name in module.__all__:
            item = getattr(module, name)
            is_error = inspect.isclass(item) and issubclass(item, Exception)
            if callable(item) and item not in known and not is_error and not hasattr(item, "__origin__"):
                known.add(item)
                yield f"{room[1:]}.{name}".removeprefix("."), item


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """Return the public methods that bnlens defines, but for those of torch's modules, which have torch's contract."""
    if issubclass(cls, nn.Module):
        return {}
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("bnlens"):
            own = {
                name: getattr(item, "__func__", item) for name, item in vars(base).items() if not name.startswith("_")
            }
            found |= {name: item for name, item in own.items() if inspect.isfunction(item) and name not in MAKERS}
    return found


def cases() -> Iterator[Case]:
    for name, item in public():
        if not inspect.isclass(item):
            yield Case(name, item, dict(inspect.signature(item).parameters))
            continue
        if getattr(item, "_is_protocol", False):
            continue
        if item.__name__ not in RESULTS and not inspect.isabstract(item):
            yield Case(name, item, dict(inspect.signature(item).parameters))
        for method, function in {} if inspect.isabstract(item) else methods(item).items():
            _, *parameters = inspect.signature(function).parameters.items()
            yield Case(f"{name}.{method}", function, dict(parameters))


CASES = [case for case in cases() if case.parameters]


def bound(case: Case) -> Callable[..., Any]:
    """Return what to call: a method of an instance, or of its class."""
    if inspect.isclass(case.item) or inspect.ismethod(case.item) or "." not in case.item.__qualname__:
        return case.item
    of, _, method = case.name.rpartition(".")
    make = ending(INSTANCES, of)
    assert make is not None, f"say in INSTANCES how a {of} is made"
    return getattr(make(), method)


def right(case: Case, folder: Path) -> dict[str, Any]:
    """Return right values for the arguments that must be given, and others that make the call quick."""
    found = {name: make(folder) for name, make in (ending(SPECIAL, case.name) or {}).items()}
    for name, parameter in case.parameters.items():
        if name not in found and parameter.default is parameter.empty and parameter.kind not in VARIADIC:
            assert name in RIGHT, f"say in RIGHT or SPECIAL what {case.name} takes for {name}"
            found[name] = RIGHT[name](folder)
    return found


def run(case: Case, values: dict[str, Any]) -> None:
    call, rest = bound(case), dict(values)
    args: list[Any] = []
    if rest.keys() & (variadic := {name for name, p in case.parameters.items() if p.kind is p.VAR_POSITIONAL}):
        first = itertools.takewhile(lambda name: name not in variadic, case.parameters)
        args = [rest.pop(name) for name in (*first, *variadic)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call(*args, **rest)
        if isinstance(found, contextlib.AbstractContextManager):
            with found:
                pass


def is_admitted(parameter: inspect.Parameter, kind: str) -> bool:
    """Return whether the annotation, the default or a reason above says that such a value is a right one."""
    words = str(parameter.annotation)
    numbers = any(
        word in words
        for word in ("float", "Array", "BatchSizes", "Correlation", "Dropout", "Loads", "Positive", "NotNegative")
    )
    if (parameter.name, kind) in OTHER or (kind == "None" and parameter.default is None):
        return True
    return {
        "None": "None" in words,
        "str": "str" in words,
        "inf": parameter.name in INFINITE,
        "-1": parameter.name in SIGNED,
        "2.5": numbers,
        "2**70": numbers,
    }.get(kind, False)


def fault(case: Case, name: str, kind: str, folder: Path) -> str | None:
    """Return what is wrong with the answer to a wrong value; None where it is refused in a sentence, or a right one."""
    try:
        run(case, right(case, folder) | {name: WRONG[kind]})
    except BnlensError as error:
        text = str(error)
        is_named = name in text or shown(WRONG[kind]) in text or is_admitted(case.parameters[name], kind)
        return None if is_named and "\n" not in text and len(text) < 400 else text
    except Exception as error:  # noqa: BLE001 - the fault that is looked for
        return f"{type(error).__name__}: {error}"
    return None if is_admitted(case.parameters[name], kind) else "accepted"


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Go to an empty folder; start a process group of this process alone, for what merges over one."""
    monkeypatch.chdir(tmp_path)
    if not request.getfixturevalue("case").name.endswith("all_merge"):
        yield tmp_path
        return
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield tmp_path
    dist.destroy_process_group()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_right_values_are_taken(case: Case, folder: Path) -> None:
    with pytest.raises(BnlensError, match="no density") if case.name in NEVER else contextlib.nullcontext():
        run(case, right(case, folder))


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in NEVER], ids=lambda case: case.name)
def test_wrong_values_are_refused_by_name(case: Case, folder: Path) -> None:
    names = [
        name for name, p in case.parameters.items() if p.kind is not p.VAR_KEYWORD and (case.name, name) not in FOREIGN
    ]
    faults = {f"{name}={kind}": found for name in names for kind in WRONG if (found := fault(case, name, kind, folder))}
    assert not faults


def test_there_are_many() -> None:
    assert sum(len(case.parameters) for case in CASES) * len(WRONG) > 2000
