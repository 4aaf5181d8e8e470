"""The works behind the methods of bnlens, as CSL-JSON records by id."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from bnlens._arguments import checked
from bnlens._names import did_you_mean
from bnlens.errors import UsageError
from bnlens.paper._data import load
from bnlens.paper._record import record

__all__ = ["get_works", "works"]


@functools.cache
def works() -> Mapping[str, Mapping[str, Any]]:
    """Return id -> CSL-JSON record of every work of the table, the paper itself first."""
    paper = record()
    return MappingProxyType({paper.id: paper.csl, **{item["id"]: MappingProxyType(item) for item in load("works")}})


@checked
def get_works(ids: Iterable[str]) -> list[Mapping[str, Any]]:
    """Return the works named, each once, in the order given; upper and lower case are the same.

    Raises:
        UsageError: an id is not in the table; the message names the nearest one.

    >>> [work["title"] for work in get_works(["wu2018group"])]
    ['Group Normalization']
    """
    table = works()
    found = {}
    for work_id in ids:
        known = work_id.lower()
        if known not in table:
            hint = did_you_mean(known, table, "bnlens.paper.works() lists the table")
            raise UsageError(f"unknown work {work_id!r}; {hint}")
        found[known] = table[known]
    return list(found.values())
