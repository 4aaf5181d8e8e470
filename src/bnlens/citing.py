"""`cite`: the paper, and the works behind what a report or a claim used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bnlens._arguments import checked, shown
from bnlens._names import did_you_mean
from bnlens.errors import UsageError
from bnlens.paper import Citation, get_works, record, works

if TYPE_CHECKING:
    from bnlens.claims import Claim
    from bnlens.measure import Report

__all__ = ["cite"]

# The report's methods: groups as batches, population statistics before the measurement, pooled sums of powers.
_REPORT = ("ioffe2015batch", "hoffer2017train", "wu2021rethinking", "chan1979updating", "pebay2008formulas")
_FISHER = ("martens2020new", "kunstner2019limitations")
_KINDS = {"SyncBatchNorm": "peng2018megdet"}


@checked
def cite(*used: str | Claim | Report | Sequence[str | Claim | Report]) -> Citation:
    """Return what to cite: the paper alone, or the paper and the works behind what was used.

    Args:
        used: ids of claims (``"D1"``), ids of works (``"ioffe2015batch"``), claims, reports, or lists of these. Upper and
            lower case of an id are the same.

    Returns:
        A `bnlens.paper.Citation`. Its ``repr`` is readable; ``to_bibtex()``, ``to_ris()``, ``to_endnote()`` and
        ``to_csl()`` are for reference managers. Each work stands once, the paper first.

    Raises:
        UsageError: an id is neither a claim nor a work; the message names the nearest one.

    >>> [item["id"] for item in cite("L2").items]
    ['luo2019towards', 'salimans2016weight', 'saad1995online']
    """
    return Citation(get_works([record().id, *(work for one in used for work in _behind(one))]))


def _behind(used: str | Claim | Report | Sequence[str | Claim | Report]) -> Iterator[str]:
    if isinstance(used, str):
        yield from _named(used)
    elif isinstance(used, Sequence):
        for one in used:
            yield from _behind(one)
    else:
        from bnlens.claims import Claim  # knows no torch; the report's class does

        yield from used.works if isinstance(used, Claim) else _of_report(used)


def _named(name: str) -> Sequence[str]:
    from bnlens.claims import claims, named_claims

    if name.lower() in works():
        return [name]
    register = claims()
    if named := named_claims(name, register.values()):
        return [work for claim in named for work in claim.works]
    ids = list(register)
    hint = did_you_mean(name, [*ids, *works()], f"the claims are {', '.join(ids)}")
    raise UsageError(f"{name!r} is neither a claim nor a work; {hint}")


def _of_report(used: object) -> Iterator[str]:
    from bnlens.measure import Report

    if not isinstance(used, Report):
        raise UsageError(f"used has {shown(used)} in it; give ids, claims or reports, or lists of these")
    yield from _REPORT
    if used.likelihood is not None:
        yield from _FISHER
    yield from (_KINDS[layer.kind] for layer in used.layers if layer.kind in _KINDS)
