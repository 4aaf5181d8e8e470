"""The valid values of the BN call at hand, where its samples are padded: of them alone are statistics.

The interceptor sets them around a handler, which need not know: what takes a statistic asks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

__all__ = ["counted", "counting", "valid_now"]

_VALID: ContextVar[Tensor | None] = ContextVar("valid", default=None)


@contextmanager
def counting(valid: Tensor | None) -> Iterator[None]:
    """Within this context count only the values of the input at hand that ``valid``, bool, (rows, 1, ...), marks; None: all."""
    token = _VALID.set(valid)
    try:
        yield
    finally:
        _VALID.reset(token)


def valid_now() -> Tensor | None:
    """Return which values of the input at hand count, bool, (rows, 1, ...); None where all do."""
    return _VALID.get()


def counted(h: Tensor, valid: Tensor | None) -> Tensor:
    """Return the values of ``h`` (rows, C, ...) that count, (values, C); ``h`` itself where all do."""
    return h if valid is None else h.movedim(1, -1)[valid.squeeze(1)]
