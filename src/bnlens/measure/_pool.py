"""The samples a report works on: drawn once from a loader, then regrouped at will."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from bnlens._ranks import gather, world
from bnlens.errors import DataError
from bnlens.measure._columns import Layout, Rows, bytes_of, concatenate, rows_at, slice_rows
from bnlens.measure._ranks import StoppedError, agreeing

__all__ = ["Batch", "Pool", "SamplePool", "WholeBatches", "check_samples", "even", "read", "share_of"]

_SHARE_OF_DEVICE = 0.25  # of its free memory, for samples that stay there


@dataclass(frozen=True)
class Batch:
    """Samples that go through the model together.

    Attributes:
        data: one batch in the loader's own structure, on the model's device.
        size: how many samples it holds.
        number: its place in the sweep or round that it comes from, over all ranks.
        indices: places of its samples in the pool, (size,); None if the pool is not held in memory.
    """

    data: Any
    size: int
    number: int
    indices: Tensor | None

    def head(self, size: int) -> Batch:
        """Return the first ``size`` samples."""
        return self if size == self.size else self.part(0, size)

    def part(self, start: int, stop: int) -> Batch:
        """Return the samples from ``start`` to ``stop``."""
        rows = slice(start, stop)
        indices = None if self.indices is None else self.indices[rows]
        return Batch(slice_rows(self.data, rows), stop - start, self.number, indices)


class Pool(Protocol):
    """The population of a report, in batches: `SamplePool` or `bnlens.measure._stream.StreamedPool`.

    Attributes:
        size: P, the samples of all ranks.
        own: how many of them this rank read.
        batch_size: the largest batch that a loader made, which the model's device can be trusted to hold.
        device: where batches are brought to; None leaves them where the samples are.
    """

    size: int
    own: int
    batch_size: int
    device: torch.device | None

    def __len__(self) -> int: ...

    def in_order(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """Yield all samples in order, in the fewest batches of at most ``batch_size``, equal to within one sample.

        A short last batch could be a single sample, and one sample has no batch statistics. Of whole groups, if
        ``group_size`` is given.
        """
        ...

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield all samples in random order, in batches of ``batch_size``, the last one of what is left."""
        ...

    def shard(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """Yield the samples that this rank read, as `in_order` does, in whole groups; ranks do not wait for each other."""
        ...


class SamplePool:
    """Samples of a data loader, concatenated along dimension 0, in any nesting of tuples, lists and mappings.

    The pool is the *population* of a report: population statistics, groups and gaps all refer to it. Holding it in memory
    is what allows groups of any size, drawn without replacement and reshuffled, whatever batches the loader makes.

    With several ranks the pool is the union of what they read, in rank order. All ranks make the same batches and rank r
    runs those of number r, r + R, ...; the rows that it has not read itself are sent to it before each step. So all ranks
    sweep together, ``generator`` being in the same state everywhere. A rank that leaves a sweep early, by an error, say,
    ends it for the others with `StoppedError`, as soon as its iterator is gone: iterate in a ``for`` statement.

    Args:
        rows: samples of this rank, by leaf of a batch; on one rank they may be on the model's device.
        layout: of a batch.
        batch_size: see `Pool`.
        device: see `Pool`.
    """

    def __init__(self, rows: Rows, layout: Layout, own: int, batch_size: int, device: torch.device | None) -> None:
        self._rows, self._layout, self.own, self.device = rows, layout, own, device
        counts = gather(own)
        self.size, self._start = sum(counts), sum(counts[: world()[0]])
        self.batch_size = max(gather(batch_size))

    @classmethod
    def from_loader(cls, loader: Iterable[Any], max_samples: int, device: torch.device | None = None) -> SamplePool:
        """Read batches until ``max_samples`` samples are there (each rank an equal share) or the loader ends.

        Samples stay on ``device`` if they fit in a quarter of its free memory.

        Raises:
            DataError: the loader is empty, a batch holds no tensor, or batches do not fit together.
        """
        layout, parts = Layout(), []
        largest = size = 0
        with agreeing():
            for rows, length, whole in read(loader, layout, share_of(max_samples)):
                parts.append(rows)
                size, largest = size + length, max(largest, whole)
            check_samples(size)
            rows = concatenate(parts)
        if device is not None and device.type == "cuda" and world()[1] == 1:
            free, _ = torch.cuda.mem_get_info(device)
            if bytes_of(rows) <= _SHARE_OF_DEVICE * free:
                rows = [leaf.to(device) if isinstance(leaf, Tensor) else leaf for leaf in rows]
        return cls(rows, layout, size, largest, device)

    def __len__(self) -> int:
        return self.size

    def take(self, indices: Tensor, number: int = 0) -> Batch:
        """Return the samples at ``indices`` as one batch; with several ranks, samples that this rank read."""
        return self._batch(rows_at(self._rows, indices - self._start), indices, number)

    def in_order(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """See `Pool`."""
        return self._sweep(even(self.size, batch_size, group_size))

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """See `Pool`."""
        return self._sweep(torch.split(torch.randperm(self.size, generator=generator), batch_size))

    def shard(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """See `Pool`."""
        rank, ranks = world()
        for step, part in enumerate(even(self.own, batch_size, group_size)):
            yield self.take(part + self._start, rank + ranks * step)

    def _sweep(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        rank, ranks = world()
        if ranks == 1:
            yield from (self.take(part, number) for number, part in enumerate(parts))
            return
        for first in range(0, len(parts), ranks):
            step = parts[first : first + ranks]
            sent = _exchange([self._owed(part) for part in step])
            if rank < len(step):
                try:
                    yield self._received([owed[rank] for owed in sent], step[rank], first + rank)
                except BaseException:  # this rank stops here, GeneratorExit included, and the others wait to hear of it
                    gather(None)
                    raise
        _exchange([])

    def _received(self, owed: list[tuple[Tensor, Rows]], indices: Tensor, number: int) -> Batch:
        order = torch.cat([places for places, _ in owed]).argsort()
        rows = concatenate([rows for places, rows in owed if len(places)])
        return self._batch(rows_at(rows, order), indices, number)

    def _owed(self, indices: Tensor) -> tuple[Tensor, Rows]:
        """Return the places in a batch that this rank's samples have, and the samples."""
        local = indices - self._start
        places = ((local >= 0) & (local < self.own)).nonzero().squeeze(1)
        return places, rows_at(self._rows, local[places])

    def _batch(self, rows: Rows, indices: Tensor, number: int) -> Batch:
        return Batch(self._layout.tree(rows, self.device), len(indices), number, indices)


class WholeBatches:
    """A pool in batches of its loader's batch size, whatever is asked for; the samples left over are in none of them.

    So a loss that couples the samples of a batch is given batches of one size.

    Args:
        pool: the samples.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.size, self.own, self.batch_size, self.device = pool.size, pool.own, pool.batch_size, pool.device

    def __len__(self) -> int:
        return self.size

    def in_order(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """See `Pool`."""
        return self._pool.in_order(self.batch_size, self.batch_size)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """See `Pool`."""
        for batch in self._pool.shuffled(self.batch_size, generator):
            if batch.size == self.batch_size:
                yield batch

    def shard(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """See `Pool`."""
        return self._pool.shard(self.batch_size, self.batch_size)


def read(loader: Iterable[Any], layout: Layout, max_samples: int) -> Iterator[tuple[Rows, int, int]]:
    """Yield (samples, how many, how many the batch had) batch by batch, until ``max_samples`` are there; see `Layout.rows`."""
    size = 0
    for batch in loader:
        rows, length = layout.rows(batch)
        kept = min(length, max_samples - size)
        yield (rows if kept == length else rows_at(rows, torch.arange(kept))), kept, length
        size += kept
        if size >= max_samples:
            break


def check_samples(size: int) -> None:
    """Raise a DataError if there are none."""
    if size == 0:
        raise DataError("the loader is empty; give a loader that yields batches of samples")


def share_of(max_samples: int) -> int:
    """Return how many of ``max_samples`` this rank reads, to within one an equal share."""
    rank, ranks = world()
    return max_samples // ranks + (rank < max_samples % ranks)


def _exchange(owed: list[tuple[Tensor, Rows]]) -> list[list[tuple[Tensor, Rows]]]:
    sent = gather(owed)
    if not all(isinstance(found, list) for found in sent):
        raise StoppedError("another rank stopped in the middle of a sweep over the samples; its own error says why")
    return sent


def even(size: int, batch_size: int, group_size: int = 1) -> list[Tensor]:
    """Return the numbers below ``size`` in the fewest parts of at most ``batch_size``, equal to within a group.

    Parts are of whole groups of ``group_size`` numbers, at most ``batch_size``; what fills no group is left out.
    """
    groups = torch.arange(size - size % group_size).view(size // group_size, group_size)
    parts = max(1, -(-len(groups) // (batch_size // group_size)))
    return [part.flatten() for part in groups.tensor_split(parts) if len(part)]
