"""How a claim is to be computed: its scale, its data, and the values of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bnlens._names import nearest
from bnlens.claims._ranges import INFINITE, check_ranges
from bnlens.errors import UsageError

__all__ = ["Scale", "Setup", "resolve"]

Scale = Literal["quick", "full"]


@dataclass(frozen=True)
class Setup:
    """The scale, data and parameters that the jobs of a claim are made from.

    Attributes:
        scale: ``"quick"`` or ``"full"``.
        data: folder with CIFAR-10, for the claims that can use it.
        parameters: a value for every parameter of the claim, see `bnlens.claims.Claim`.
        check: whether to look at data and nets, so that bad ones end a run before it begins.
    """

    scale: Scale = "quick"
    data: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    check: bool = True


def resolve(claim_id: str, defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a claim with a user's values in place of the defaults.

    A value is of its default's type: whole numbers also stand for floats, and a list holds values of the types of its
    default's items; statistics batch sizes M may also be ``"inf"``.

    Raises:
        UsageError: a name is not a parameter of the claim (the nearest one is named), or a value has the wrong type, is out
            of range or names no net.

    >>> resolve("E1", {"epochs": 2, "M": [8, "inf"]}, {"M": [16]})
    {'epochs': 2, 'M': [16]}
    """
    for name, value in changes.items():
        if name not in defaults:
            if not defaults:
                raise UsageError(f"{claim_id} has no parameters, so {name!r} cannot be set; leave it out")
            near = nearest(name, defaults)
            hint = f"did you mean {near!r}" if near else "give one of its own"
            known = ", ".join(defaults)
            raise UsageError(f"{claim_id} has no parameter {name!r}; {hint} (its parameters are {known})")
        default = [*defaults[name], INFINITE] if name == "M" and isinstance(defaults[name], list) else defaults[name]
        if not _fits(value, default):
            raise UsageError(
                f"{claim_id}: parameter {name!r} must be {_kind(defaults[name])}, such as {defaults[name]!r}, got {value!r}"
            )
    check_ranges(claim_id, changes)
    return {**defaults, **changes}


def _fits(value: object, default: object) -> bool:
    if isinstance(default, (list, tuple)):
        if not (isinstance(value, (list, tuple)) and value):
            return False
        return all(any(_fits(item, one) for one in default) for item in value)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


def _kind(default: object) -> str:
    kinds: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    kinds |= dict.fromkeys((list, tuple), "a list")
    return kinds.get(type(default), type(default).__name__)
