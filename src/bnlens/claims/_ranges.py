"""The values that a user may set, by the name of the parameter; the same in every claim that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bnlens.errors import UsageError

__all__ = ["INFINITE", "check_ranges"]

INFINITE = "inf"
"""A statistics batch size in JSON, which has no infinity."""


class _Range(NamedTuple):
    """Values, in words to follow "must be" and as a test."""

    words: str
    allows: Callable[[Any], bool]


def _whole(least: int, most: int = 1_000_000, why: str = "") -> _Range:
    return _Range(f"a whole number from {least:,} to {most:,}{why}", lambda value: least <= value <= most)


def _between(most: float) -> _Range:
    return _Range(f"a number above 0 and below {most:,g}", lambda value: 0 < value < most)


_SIZE = _Range(
    "a whole number of at least 2, or 'inf'",
    lambda value: value == INFINITE or (isinstance(value, int) and value >= 2),
)
_RANGES: Mapping[str, _Range] = {
    "seeds": _whole(2, 1000, " (standard errors are over seeds)"),
    "samples": _whole(2, 100_000_000),
    "other_samples": _whole(2, 100_000_000),
    "epochs": _whole(1),
    "further_epochs": _whole(1),
    "steps": _whole(1),
    "layers": _whole(1),
    "batch_size": _whole(2),
    "batch_sizes": _whole(2),
    "large_batch": _whole(2),
    "lr": _between(1e6),
    "wn_lr": _between(1e6),
    "wn_batch_size": _whole(2),
    "rates": _between(1e6),
    "further_rates": _between(1e6),
    "dropout": _between(1),
    "M": _SIZE,
}


def check_ranges(claim_id: str, changes: Mapping[str, Any]) -> None:
    """Raise where a value is out of its range or names no net; the types are right.

    Raises:
        UsageError: see above; the nearest net is named.
    """
    for name, value in changes.items():
        each = value if isinstance(value, (list, tuple)) else [value]
        found = _RANGES.get(name)
        if found and (wrong := [item for item in each if not found.allows(item)]):
            raise UsageError(f"{claim_id}: parameter {name!r} must be {found.words}, got {wrong[0]!r}")
        if name in ("net", "other_nets"):
            for item in each:
                _check_net(claim_id, name, item)


def _check_net(claim_id: str, name: str, net: str) -> None:
    from bnlens.train import check_net

    try:
        check_net(net)
    except UsageError as error:
        raise UsageError(f"{claim_id}: parameter {name!r}: {error}") from error
