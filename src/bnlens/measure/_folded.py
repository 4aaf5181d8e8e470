"""Whose the rows of BN layers' inputs are, found by leaving the first sample out of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.measure._intercept import Handler
from bnlens.measure._pool import Batch
from bnlens.measure._probe import Probe
from bnlens.measure._rows import Interleaved

__all__ = ["find_rows"]

_FEWEST = 3  # samples, of which two have to be told apart
_CLOSE = 1e-3  # of the largest value: rows of other samples differ by more, sums in another order by less


@torch.no_grad()
def find_rows(probe: Probe, batch: Batch, handler: Handler) -> int | Interleaved | None:
    """Return how many rows each sample has where layers have several, and in which order; None if this does not show.

    In a batch without its first sample all rows are what they were but those of that sample, as ``handler`` normalises each
    row for itself.
    """
    if batch.size < _FEWEST:
        return None
    whole, rest = _inputs(probe, batch, handler), _inputs(probe, batch.part(1, batch.size), handler)
    found = {_rows(whole[name], rest.get(name), batch.size) for name in whole if len(whole[name]) != batch.size}
    return found.pop() if len(found) == 1 else None


def _inputs(probe: Probe, batch: Batch, handler: Handler) -> dict[str, Tensor]:
    """Return the input of each BN call, (rows, values)."""
    seen: dict[str, Tensor] = {}

    def watch(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        seen[name] = h.flatten(1)
        return handler(name, h, gamma, beta, eps)

    with probe.interceptor.handling(watch, None if probe.mask is None else probe.mask(batch.data)):
        probe.forward(probe.model, batch.data)
    return seen


def _rows(whole: Tensor, rest: Tensor | None, size: int) -> int | Interleaved | None:
    rows, more = divmod(len(whole), size)
    if more or rest is None or rest.shape != (len(whole) - rows, whole.shape[1]):
        return None
    rest = rest.to(torch.promote_types(rest.dtype, torch.float32))
    after_each_other = torch.arange(rows, len(whole), device=whole.device)
    in_turn = torch.arange(len(whole), device=whole.device).view(rows, size)[:, 1:].flatten()
    first, second = (
        bool(
            (rest - (expected := whole.index_select(0, kept).to(rest.dtype))).abs().max()
            <= _CLOSE * expected.abs().max()
        )
        for kept in (after_each_other, in_turn)
    )
    if first == second:
        return None
    return rows if first else Interleaved(rows)
