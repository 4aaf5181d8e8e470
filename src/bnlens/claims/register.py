"""The register: every claim of bnlens, found by its file.

To add a claim, put one file into this folder, named by its id in lower case, an underscore and a few words, such as
``d1_gap_value.py`` for ``D1`` or ``l3a_maximum_of_model.py`` for ``L3a``, a part of ``L3``, that defines ``CLAIM``, a `Claim`
whose id is the one in the file name. That is all: the command line, the report and the tests read the register. Its jobs
call functions of `bnlens.experiments` at module level (workers import them by name) that import torch inside themselves:
then listing the claims stays quick. Its judge and its figure choose results by configurations, and compute named numbers
from which verdict, summary and rows are made.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable

from bnlens._names import nearest
from bnlens.claims._claim import Claim
from bnlens.errors import UsageError

__all__ = ["claims", "get_claims", "named_claims"]

_FILE = re.compile(r"([a-z]+)(\d+)([a-z]?)_\w+")


def claims() -> dict[str, Claim]:
    """Return all claims by id, in the order of their letters, numbers and parts."""
    package = importlib.import_module(__package__)
    files = [found for entry in pkgutil.iter_modules(package.__path__) if (found := _FILE.fullmatch(entry.name))]
    register = {}
    for file in sorted(files, key=lambda found: (found[1], int(found[2]), found[3])):
        claim: Claim = importlib.import_module(f"{package.__name__}.{file[0]}").CLAIM
        if claim.id.lower() != "".join(file.groups()):
            raise ValueError(f"{file[0]}.py defines claim {claim.id}; name the file after its claim")
        register[claim.id] = claim
    return register


def get_claims(ids: Iterable[str]) -> list[Claim]:
    """Return the claims named, each once, in the order given; upper and lower case are the same.

    A name such as ``L3`` that is no id stands for the claims that are its parts, ``L3a`` and ``L3b``.

    Raises:
        UsageError: an id is not in the register; the message names the nearest one.
    """
    register = claims()
    found: dict[str, Claim] = {}
    for claim_id in ids:
        named = named_claims(claim_id, register.values())
        if not named:
            near = nearest(claim_id, register)
            hint = f"did you mean {near}" if near else "give one of the register"
            raise UsageError(f"unknown claim {claim_id!r}; {hint} (the claims are {', '.join(register)})")
        found |= {claim.id: claim for claim in named}
    return list(found.values())


def named_claims(name: str, register: Iterable[Claim]) -> list[Claim]:
    """Return the claim of that id, or those that are its parts; none if the name is unknown."""
    by_id = {claim.id.lower(): claim for claim in register}
    parts = [claim for claim_id, claim in by_id.items() if claim_id[-1].isalpha() and claim_id[:-1] == name.lower()]
    return [by_id[name.lower()]] if name.lower() in by_id else parts
