"""The register: every claim of bnlens, found by its file.

To add a claim, put one file into this folder, named by its id in lower case, an underscore and a few words, such as
``d1_gap_value.py`` for ``D1``, that defines ``CLAIM``, a `Claim` whose id is the one in the file name. That is all: the
command line, the report and the tests read the register. Its jobs call functions of `bnlens.experiments` at module level
(workers import them by name) that import torch inside themselves: then listing the claims stays quick. Its judge and its
figure choose results by configurations, and compute named numbers from which verdict, summary and rows are made.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable

from bnlens._names import nearest
from bnlens.claims._claim import Claim
from bnlens.errors import UsageError

__all__ = ["claims", "get_claims"]

_FILE = re.compile(r"([a-z]+)(\d+)_\w+")


def claims() -> dict[str, Claim]:
    """Return all claims by id, in the order of their letters and numbers."""
    package = importlib.import_module(__package__)
    files = [found for entry in pkgutil.iter_modules(package.__path__) if (found := _FILE.fullmatch(entry.name))]
    register = {}
    for file in sorted(files, key=lambda found: (found[1], int(found[2]))):
        claim: Claim = importlib.import_module(f"{package.__name__}.{file[0]}").CLAIM
        if claim.id.lower() != file[1] + file[2]:
            raise ValueError(f"{file[0]}.py defines claim {claim.id}; name the file after its claim")
        register[claim.id] = claim
    return register


def get_claims(ids: Iterable[str]) -> list[Claim]:
    """Return the claims named, each once, in the order given; upper and lower case are the same.

    Raises:
        UsageError: an id is not in the register; the message names the nearest one.
    """
    register = claims()
    by_name = {claim_id.lower(): claim for claim_id, claim in register.items()}
    found = {}
    for claim_id in ids:
        claim = by_name.get(claim_id.lower())
        if claim is None:
            near = nearest(claim_id, register)
            hint = f"did you mean {near}" if near else "give one of the register"
            raise UsageError(f"unknown claim {claim_id!r}; {hint} (the claims are {', '.join(register)})")
        found[claim.id] = claim
    return list(found.values())
