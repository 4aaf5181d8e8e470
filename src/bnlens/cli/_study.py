"""Studies: the settings of a run, from a TOML file and the command line, which wins."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bnlens._names import did_you_mean
from bnlens.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Study", "parameters_of", "parse_changes", "read_study"]

_KINDS: Mapping[str, tuple[type, str]] = {
    "claims": (list, "a list of claim ids, such as ['E1', 'E2']"),
    "scale": (str, "'quick' or 'full'"),
    "data": (str, "the path of a folder"),
    "out": (str, "the path of a folder"),
    "jobs": (int, "a whole number of at least 1"),
    "threads": (int, "a whole number of at least 1"),
    "seeds": (int, "a whole number of at least 1"),
    "scheduler": (str, "an address, such as 'tcp://127.0.0.1:8786'"),
}
_BARE = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Study:
    """The settings that a TOML file or a command line gives, as options of `bnlens reproduce`; None for those it leaves open.

    The ``parameters`` are values by claim id in lower case, and under ``""`` those of all claims.
    """

    claims: Sequence[str] | None = None
    scale: str | None = None
    data: str | None = None
    out: str | None = None
    jobs: int | None = None
    threads: int | None = None
    seeds: int | None = None
    scheduler: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def over(self, other: Study) -> Study:
        """Return this study with what it leaves open taken from ``other``."""
        own = {name: value for name in _KINDS if (value := getattr(self, name)) is not None}
        names = {*self.parameters, *other.parameters}
        merged = {name: {**other.parameters.get(name, {}), **self.parameters.get(name, {})} for name in names}
        return replace(other, **own, parameters=merged)


def read_study(path: Path, claim_ids: Sequence[str]) -> Study:
    """Read a study from a TOML file: the keys of `Study`, and a table of parameters under the id of each claim.

    Raises:
        UsageError: the file is missing or is no TOML (with the line), or a key or its type is wrong (the nearest valid key
            is named).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {path}: {reason}; give a TOML file with --config") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}; mend that line") from error
    tables = {claim_id.lower(): claim_id for claim_id in claim_ids}
    given: dict[str, Any] = {}
    parameters: dict[str, Mapping[str, Any]] = {}
    for key, value in content.items():
        if key in _KINDS:
            given[key] = _checked(path, key, value)
        elif key.lower() not in tables:
            raise UsageError(_unknown(path, key, [*_KINDS, *claim_ids]))
        elif not isinstance(value, dict):
            raise UsageError(f"{path}: {key} must be a table of parameters, [{key}], got {value!r}")
        else:
            parameters[key.lower()] = value
    return Study(**given, parameters=parameters)


def parse_changes(changes: Sequence[str], claim_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return parameters by claim id in lower case, or ``""`` for all claims, from texts such as ``"E1.M=[8, 64]"``.

    Raises:
        UsageError: a text has no name or no value, its value is not TOML, or its claim is unknown.

    >>> parse_changes(["epochs=3", "E1.net=resnet14"], ["E1"])
    {'': {'epochs': 3}, 'e1': {'net': 'resnet14'}}
    """
    tables = [claim_id.lower() for claim_id in claim_ids]
    found: dict[str, dict[str, Any]] = {}
    for text in changes:
        name, sign, value = text.partition("=")
        claim, dot, key = name.strip().rpartition(".")
        if not sign or not key or not value.strip():
            raise UsageError(f"--set {text!r} is not NAME=VALUE or CLAIM.NAME=VALUE, such as --set E1.epochs=3")
        if dot and claim.lower() not in tables:
            raise UsageError(_unknown("--set", claim, claim_ids))
        found.setdefault(claim.lower(), {})[key] = _value(text, value.strip())
    return found


def parameters_of(study: Study, chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the parameters of each claim chosen, by id: those of all claims, then the number of seeds, then its own.

    Raises:
        UsageError: parameters are given for a claim that is not chosen.
    """
    left_out = set(study.parameters) - {"", *(claim_id.lower() for claim_id in chosen)}
    if left_out:
        names = ", ".join(sorted(name.capitalize() for name in left_out))
        raise UsageError(
            f"there are parameters for {names}, which is not among the claims "
            f"to run ({', '.join(chosen)}); name the claim too, or leave the parameters out"
        )
    shared = {**study.parameters.get("", {}), **({} if study.seeds is None else {"seeds": study.seeds})}
    found = {claim_id: {**shared, **study.parameters.get(claim_id.lower(), {})} for claim_id in chosen}
    return {claim_id: changes for claim_id, changes in found.items() if changes}


def _value(text: str, value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        if _BARE.fullmatch(value):  # a word may go without the quotes that a shell takes away
            return value
        raise UsageError(f'--set {text!r}: {value!r} is not a TOML value; write 3, 0.5, "text" or [8, 64]') from error


def _checked(path: Path, key: str, value: Any) -> Any:
    kind, words = _KINDS[key]
    is_right = isinstance(value, kind) and not isinstance(value, bool)
    if key == "claims":
        is_right = is_right and all(isinstance(item, str) for item in value)
    elif key == "scale":
        is_right = value in ("quick", "full")
    if not is_right or (kind is int and value < 1):
        raise UsageError(f"{path}: {key} must be {words}, got {value!r}")
    return value


def _unknown(place: Path | str, key: str, valid: Sequence[str]) -> str:
    hint = did_you_mean(key, valid, f"use one of {', '.join(valid)}")
    return f"{place}: unknown key {key!r}; {hint}"
