"""Whose the rows of a BN layer's input are, where a sample has several: time steps, nodes, boxes, views in dimension 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from bnlens._arguments import Count
from bnlens._ranks import gather
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._intercept import Handler
from bnlens.measure._pool import Batch, Pool
from bnlens.measure._ranks import agreeing
from bnlens.measure._valid import counting, valid_now

__all__ = [
    "Average",
    "Interleaved",
    "SampleRows",
    "SamplesOf",
    "UnknownRowsError",
    "check_samples_of",
    "owners",
    "pixel_mean",
]

SamplesOf: TypeAlias = Count | Tensor | Callable[[Any], Tensor]
"""Rows per sample, offsets of all samples' rows, or a function from a batch to the sample of each row; see `bnlens.report`."""

Average: TypeAlias = Callable[[Tensor], Tensor]
"""From values of each row and pixel, (rows, C, pixels), to those of each sample, (N, C)."""

_INTEGERS = (torch.int64, torch.int32)


@dataclass(frozen=True)
class Interleaved:
    """Of a batch of N samples, row r is of sample r mod N, as in (time, samples); ``rows`` is how many each sample has."""

    rows: int


class UnknownRowsError(ModelError):
    """A layer has not one row per sample, and nothing says whose they are."""


def check_samples_of(samples_of: Any, hold: bool) -> None:
    """Raise UsageError for what cannot say whose a row is."""
    if not isinstance(samples_of, Tensor):
        return
    if samples_of.ndim != 1 or samples_of.dtype not in _INTEGERS or len(samples_of) < 2:
        raise UsageError(
            f"samples_of has shape {tuple(samples_of.shape)} and dtype {samples_of.dtype}; give offsets as int64 numbers in "
            "one dimension, one more than there are samples"
        )
    if samples_of[0] != 0 or (samples_of.diff() < 0).any():
        raise UsageError("samples_of must start at 0 and never descend; give the first row of each sample and the end")
    if not hold:
        raise UsageError(
            "samples_of gives offsets, which hold=False cannot tell to which samples they belong; give a function "
            "(batch) -> sample of each row, or leave hold=True"
        )


def pixel_mean(values: Tensor) -> Tensor:
    """Average over pixels, (N, C, pixels) to (N, C)."""
    return values.mean(2)


def owners(counts: Tensor, device: torch.device) -> Tensor:
    """Return the sample of each row, (rows,), from the rows of each sample, (N,), on the CPU."""
    return torch.arange(len(counts)).repeat_interleave(counts).to(device)


class SampleRows:
    """Brings the rows of each sample together, before a handler sees them.

    Where all samples of a batch have equally many rows, these become pixels, (N, C, rows times pixels). Else the handler is
    given the rows sample by sample, (rows, C, ...), and finds ``counts`` set.

    Args:
        samples_of: see `bnlens.report`, or `Interleaved`; None: each row is a sample.
        pool: the samples, of which offsets tell.

    Attributes:
        samples_of: as given.
        counts: rows of each sample in the input of the BN call at hand, (N,), on the CPU; None where each has one.

    Raises:
        DataError: offsets are of another number of samples.
    """

    def __init__(self, samples_of: SamplesOf | Interleaved | None = None, pool: Pool | None = None) -> None:
        self.counts: Tensor | None = None
        self.folded = samples_of is not None
        self.samples_of = samples_of
        self._by_sample: dict[str, bool] = {}  # of calls, whether they have one row for each sample
        self._offsets = torch.zeros(0, dtype=torch.int64)
        if isinstance(samples_of, Tensor) and pool is not None:
            with agreeing():
                if len(samples_of) != pool.own + 1:
                    raise DataError(
                        f"samples_of has {len(samples_of)} offsets for {pool.own} samples; give one more than samples "
                        "(max_samples counts too)"
                    )
            self._offsets = torch.cat(gather(samples_of.detach().cpu().long().diff()))

    def whose(self, batch: Batch) -> Tensor | None:
        """Return the sample, 0 to N - 1, of each row of a batch, (rows,), on the CPU; None: each row is a sample.

        Raises:
            ModelError: a function gives something else.
        """
        if self.samples_of is None:
            return None
        if isinstance(self.samples_of, Tensor):
            assert batch.indices is not None  # noqa: S101 - check_samples_of
            return owners(self._offsets[batch.indices], torch.device("cpu"))
        if isinstance(self.samples_of, Interleaved):
            return torch.arange(batch.size).repeat(self.samples_of.rows)
        if not callable(self.samples_of):
            return torch.arange(batch.size).repeat_interleave(int(self.samples_of))
        found = self.samples_of(batch.data)
        if not isinstance(found, Tensor) or found.ndim != 1 or found.dtype not in _INTEGERS:
            given = (
                f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            )
            raise ModelError(f"samples_of returns {given}; return the sample of each row as int64 numbers, (rows,)")
        found = found.detach().cpu().long()
        if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < batch.size:
            wrong = int(found.min()) if found.min() < 0 else int(found.max())
            raise ModelError(
                f"samples_of puts a row into sample {wrong} of a batch of {batch.size}; number the samples from 0 to "
                f"{batch.size - 1}"
            )
        return found

    def arranged(self, handler: Handler, size: int, whose: Tensor | None) -> Handler:
        """Return a handler for inputs as the model makes them, of a batch of ``size`` samples; see `whose`.

        Raises:
            ModelError: an input has neither one row per sample nor those that ``whose`` tells of (`UnknownRowsError`, if it
                tells of none).
        """
        owner = torch.arange(size) if whose is None else whose
        rows, counts = len(owner), torch.bincount(owner, minlength=size)
        order = None if bool((owner.diff() >= 0).all()) else owner.argsort(stable=True)
        plain = order is None and bool((counts == 1).all())

        def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
            if len(h) not in (size, rows):
                raise (UnknownRowsError if whose is None else ModelError)(_refusal(name, len(h), size, whose))
            self.counts = None
            if plain or self._has_samples(name, len(h), size, rows):
                return handler(name, h, gamma, beta, eps)
            ordered, valid = h, valid_now()
            if order is not None:
                ordered = h.index_select(0, order.to(h.device))
                valid = None if valid is None else valid.index_select(0, order.to(h.device))
            if rows == size * int(counts.max()):
                split = _as_pixels(ordered, size)
                with counting(None if valid is None else _as_pixels(valid, size).flatten(2)):
                    y = handler(name, split.flatten(2), gamma, beta, eps)
                y = y.reshape(split.shape).transpose(1, 2).reshape(ordered.shape)
            else:
                self.counts = counts
                with counting(valid):
                    y = handler(name, ordered, gamma, beta, eps)
            return y if order is None else y.index_select(0, order.argsort().to(h.device))

        return handle

    def _has_samples(self, name: str, length: int, size: int, rows: int) -> bool:
        """Return whether the call has one row per sample; a batch tells, unless it has as many rows as samples by chance."""
        if rows != size:
            self._by_sample[name] = length == size
        elif name not in self._by_sample:
            raise ModelError(
                f"layer {name!r} is given {length} rows for {size} samples, which are as many by chance, so that samples_of "
                "does not tell whose they are; let the loader begin with other samples"
            )
        return self._by_sample[name]

    def average(self, entries: float) -> Average:
        """Return what sums over the valid rows and pixels of each sample of the call at hand, in units of their mean number.

        To first order, a group's average over all its rows and pixels is the mean over its samples of these sums.

        Args:
            entries: valid rows times pixels of a sample, mean over the pool.
        """
        counts, valid = self.counts, valid_now()
        if not self.folded and valid is None:
            return pixel_mean

        def average(values: Tensor) -> Tensor:
            if valid is not None:
                values = values.where(valid.reshape(len(values), 1, -1), 0)
            means = values.mean(2) * (values.shape[2] / entries)
            if counts is None:
                return means
            return means.new_zeros(len(counts), means.shape[1]).index_add_(0, owners(counts, means.device), means)

        return average


def _as_pixels(x: Tensor, size: int) -> Tensor:
    """Return equally many rows of each sample as pixels, (rows, C, ...) to (N, C, rows of a sample, pixels)."""
    return x.reshape(size, len(x) // size, x.shape[1], -1).transpose(1, 2)


def _refusal(name: str, rows: int, size: int, whose: Tensor | None) -> str:
    if whose is None:
        return (
            f"layer {name!r} is given {rows} rows for {size} samples (time steps or views folded into dimension 0?); every BN "
            "layer must have one row per sample, further dimensions behind the channels, or samples_of= must say whose the "
            "rows are"
        )
    return (
        f"layer {name!r} is given {rows} rows for {size} samples, and samples_of tells of {len(whose)}; every BN layer must "
        "have these or one per sample"
    )
