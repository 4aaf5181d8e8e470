"""Hints at the name that was meant where one is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.4) -> str | None:
    """Return the valid name most like ``name``, or None if none is; upper and lower case are the same.

    Args:
        name: what was given.
        valid: the names to choose from.
        cutoff: the least likeness, from 0 (whatever is nearest) to 1 (equal).

    >>> nearest("d1", ["D1", "D2"]), nearest("xyz", ["D1", "D2"])
    ('D1', None)
    """
    by_case = {one.lower(): one for one in reversed(list(valid))}
    found = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=cutoff)
    return by_case[found[0]] if found else None


def did_you_mean(name: str, valid: Iterable[str], otherwise: str, cutoff: float = 0.4) -> str:
    """Return the last part of a sentence about an unknown name: the name that was meant, or else ``otherwise``.

    >>> did_you_mean("ghosts", ["ghost", "population"], "choose one of the list")
    "did you mean 'ghost'?"
    >>> did_you_mean("xyz", ["ghost", "population"], "choose one of the list")
    'choose one of the list'
    """
    near = nearest(name, valid, cutoff)
    return otherwise if near is None else f"did you mean {near!r}?"
