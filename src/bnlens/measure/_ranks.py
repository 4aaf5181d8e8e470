"""Ranks of a torch.distributed job that measure together; a single process is one rank."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from bnlens._ranks import gather, world
from bnlens.errors import BnlensError

__all__ = ["StoppedError", "agree", "agreeing", "in_number_order"]

T = TypeVar("T")


class StoppedError(BnlensError):
    """Another rank left what all ranks do together; its own error says why."""


def in_number_order(items: list[tuple[int, T]]) -> list[T]:
    """Return the (number, value) pairs of all ranks as values in the order of their numbers, the same on every rank."""
    return [value for _, value in sorted(chain.from_iterable(gather(items)), key=lambda item: item[0])]


def agree(error: Exception | None) -> None:
    """If any rank has an error, raise on every rank: its own, or the first of the others; all call it, None being no error."""
    errors = [found for found in gather(_portable(error)) if isinstance(found, Exception)]
    causes = [found for found in errors if not isinstance(found, StoppedError)]
    if error is not None and not (isinstance(error, StoppedError) and causes):
        raise error
    if errors:
        raise (causes or errors)[0]


@contextmanager
def agreeing() -> Iterator[None]:
    """Within this context an error of any rank becomes an error of every rank, at its end; see `agree`."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again by agree
        agree(error)
    else:
        agree(None)


def _portable(error: Exception | None) -> Exception | None:
    """Return the error, or its words where it cannot travel to another process."""
    if error is None or world()[1] == 1:
        return error
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made one line before
    except Exception:  # noqa: BLE001 - whatever an error of the user's does when it is copied
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
