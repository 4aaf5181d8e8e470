"""No function that computes a result is missing from its key: each experiment is run small, and what ran is looked up."""

from __future__ import annotations

import functools
import inspect
import json
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import bnlens
from bnlens.claims import claims
from bnlens.runs import Job
from bnlens.runs._definitions import definitions
from bnlens.runs._source import Source

ROOT = Path(bnlens.__file__).parent
# They check, show or announce. What they call does too, but for functions in annotations, and what `checked` wraps.
INERT = {"_arguments", "_devices", "_kinds", "_names", "_progress", "errors"}
INERT_WITH_ALL_THEY_CALL = {"measure._notes", "measure._trust_notes", "render"}

SMALL = {
    "samples": 20_000,
    "steps": 3,
    "epochs": 1,
    "further_epochs": 1,
    "rounds": 1,
    "runs": 2,
    "batches": 20,
    "settle": 20,
}
FEWER = {"rates": 2, "further_rates": 1, "times": 1, "systems": 3, "batch_sizes": 1}


def small(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that calls the same functions and takes little time."""
    found = dict(config)
    for name, value in SMALL.items():
        if isinstance(found.get(name), int):
            found[name] = min(value, found[name])
    for name, count in FEWER.items():
        if name in found:
            found[name] = found[name][:count]
    return found


def jobs() -> list[Any]:
    """A job of each function, and of each kind of system and estimator; those that train networks are slow."""
    found: dict[str, Job] = {}
    for claim in claims().values():
        for job in claim.plan("quick"):
            estimator = job.config.get("estimator", {})
            kind = [job.function_name, job.config.get("kind"), estimator.get("kind"), job.config.get("unit")]
            found.setdefault(json.dumps(kind), job)
    return [
        pytest.param(
            job,
            marks=[pytest.mark.slow] if "net" in job.config else [],
            id=f"{job.function.__name__} {job.name}",
        )
        for job in found.values()
    ]


def name_of(code: CodeType) -> tuple[str, str] | None:
    """The module within bnlens and the name of the definition that code belongs to; None for other packages and for imports."""
    if not code.co_filename.startswith(str(ROOT)) or not code.co_flags & inspect.CO_OPTIMIZED:
        return None
    module = ".".join(Path(code.co_filename).relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    name = code.co_qualname.split(".<")[0]
    return None if name.startswith("<") else (module, name)


def within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def is_idle(frame: FrameType | None) -> bool:
    """Whether what a frame computes is only shown, or only asked for by ``isinstance`` with a protocol."""
    while frame is not None:
        found = name_of(frame.f_code)
        if found is not None and within(found[0], INERT_WITH_ALL_THEY_CALL):
            return True
        if frame.f_code.co_name == "__instancecheck__" and frame.f_code.co_filename == typing.__file__:
            return True
        frame = frame.f_back
    return False


@functools.cache
def source() -> Source:
    return Source(ROOT)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified name before Python 3.11")
@pytest.mark.parametrize("job", jobs())
def test_all_that_runs_is_in_the_key(job: Job) -> None:
    ran: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (found := name_of(frame.f_code)) is not None and found not in ran and not is_idle(frame):
            ran.add(found)

    sys.setprofile(note)
    try:
        job.function(**small(job.config))
    finally:
        sys.setprofile(None)
    places = definitions(source(), job.function.__module__, job.function.__qualname__)
    counted = {
        (module.removeprefix("bnlens."), name.split("#")[0])
        for module, _, name in (place.partition(":") for place in places)
    }
    assert ("experiments." + job.function.__module__.rpartition(".")[2], job.function.__name__) in ran & counted
    assert {found for found in ran if not within(found[0], INERT)} <= counted
