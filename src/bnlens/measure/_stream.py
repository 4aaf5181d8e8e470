"""The samples of a report read again for each sweep and never held: memory does not grow with their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from bnlens._ranks import gather, world
from bnlens.errors import DataError
from bnlens.measure._columns import Layout, Rows, concatenate, put_rows, rows_at
from bnlens.measure._pool import Batch, check_samples, even, read, share_of
from bnlens.measure._ranks import agreeing

__all__ = ["StreamedPool"]

_SHUFFLED = 8  # batches in the buffer that a shuffled sweep draws from
_TOLERANCE = 1e-6  # relative, of checksums
_HOLD = "leave hold=True, which reads the samples once"


class StreamedPool:
    """Samples of a data loader, which is iterated again for each sweep; see `bnlens.measure._pool.Pool`.

    Batches have no ``indices``: the loader may yield the samples in another order each time, but they must be the same
    samples. A checksum at the end of each full sweep tells. A shuffled sweep passes them through a buffer of eight batches, so
    it mixes well only if the loader does, or the buffer holds them all.

    Several ranks stream what they read themselves, without waiting for each other, and no batch mixes samples of two.

    Args:
        loader: yields batches, and can be iterated again.
        layout: of a batch.
        own: samples of this rank; later ones are not read.
        complete: whether the loader ends there.
        checksum: of those samples.
        batch_size: see `Pool`.
        device: see `Pool`.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        layout: Layout,
        own: int,
        complete: bool,
        checksum: Checksum,
        batch_size: int,
        device: torch.device | None,
    ) -> None:
        self._loader, self._layout, self._complete, self._checksum = loader, layout, complete, checksum
        self.own, self.device = own, device
        self.size, self.batch_size = sum(gather(own)), max(gather(batch_size))

    @classmethod
    def from_loader(cls, loader: Iterable[Any], max_samples: int, device: torch.device | None = None) -> StreamedPool:
        """Count the samples, at most ``max_samples`` (each rank an equal share), in one pass over the loader.

        Raises:
            DataError: the loader is empty or cannot be iterated again, a batch holds no tensor, or batches do not fit
                together.
        """
        layout, checksum = Layout(), Checksum()
        own = largest = 0
        limit = share_of(max_samples)
        with agreeing():
            if isinstance(loader, Iterator):
                raise DataError(f"the loader can be iterated only once; give one such as a DataLoader, or {_HOLD}")
            for rows, length, whole in read(loader, layout, limit):
                checksum.add(rows)
                own, largest = own + length, max(largest, whole)
            check_samples(own)
        return cls(loader, layout, own, own < limit, checksum, largest, device)

    def __len__(self) -> int:
        return self.size

    def in_order(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """See `Pool`; in the order of the loader."""
        return self.shard(batch_size, group_size)

    def shard(self, batch_size: int, group_size: int = 1) -> Iterator[Batch]:
        """See `Pool`."""
        reader = _Reader(self._samples())
        for step, part in enumerate(even(self.own, batch_size, group_size)):
            yield self._batch(reader.take(len(part)), len(part), step)
        reader.finish()

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """See `Pool`; drawn from a buffer, and the whole buffer where the loader has ended."""
        reader = _Reader(self._samples())
        buffered = self.buffered(batch_size)
        buffer, left = reader.take(buffered), self.own - buffered
        for step in range(left // batch_size):
            drawn = torch.randperm(buffered, generator=generator)[:batch_size]
            batch = rows_at(buffer, drawn)
            put_rows(buffer, drawn, reader.take(batch_size))
            yield self._batch(batch, batch_size, step)
        rest = left % batch_size
        buffer = concatenate([buffer, reader.take(rest)]) if rest else buffer
        reader.finish()
        parts = torch.split(torch.randperm(buffered + rest, generator=generator), batch_size)
        for step, part in enumerate(parts, start=left // batch_size):
            yield self._batch(rows_at(buffer, part), len(part), step)

    def buffered(self, batch_size: int) -> int:
        """Return from how many samples at a time a shuffled sweep draws."""
        return min(self.own, _SHUFFLED * batch_size)

    def _batch(self, rows: Rows, size: int, step: int) -> Batch:
        rank, ranks = world()
        return Batch(self._layout.tree(rows, self.device), size, rank + ranks * step, None)

    def _samples(self) -> Iterator[tuple[Rows, int]]:
        """Read the loader once more; at the end, check that it gave what it gave the first time."""
        checksum, size = Checksum(), 0
        for rows, length, _ in read(self._loader, self._layout, self.own + 1 if self._complete else self.own):
            size += length
            checksum.add(rows)
            yield rows, length
        if size != self.own:
            raise DataError(
                f"the loader gave {self.own} samples the first time and {'more' if size > self.own else size} later; give one "
                f"that yields the same samples each time it is iterated, such as a DataLoader, or {_HOLD}"
            )
        if not checksum.agrees(self._checksum):
            raise DataError(
                "the loader gives other samples each time it is iterated, by random augmentation, or by shuffling and leaving "
                f"some out (max_samples, drop_last); switch that off, or {_HOLD}"
            )


class _Reader:
    """Hands out samples in the numbers asked for, whatever the loader's batches."""

    def __init__(self, source: Iterator[tuple[Rows, int]]) -> None:
        self._source = source
        self._waiting: deque[tuple[Rows, int, int]] = deque()  # samples, the first one not handed out, how many

    def take(self, size: int) -> Rows:
        """Return copies of the next samples."""
        parts = []
        while size:
            if not self._waiting:
                rows, length = next(self._source)
                self._waiting.append((rows, 0, length))
            rows, start, length = self._waiting.popleft()
            stop = min(start + size, length)
            parts.append(rows_at(rows, torch.arange(start, stop)))
            size -= stop - start
            if stop < length:
                self._waiting.appendleft((rows, stop, length))
        return concatenate(parts)

    def finish(self) -> None:
        """Go on to the end of the loader, which checks what it gave."""
        for _ in self._source:
            pass


class Checksum:
    """Sums over samples of each tensor's elements, of their squares, and of their products with weights by place.

    They do not depend on the order of the samples.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(0, 4, dtype=torch.float64)

    def add(self, rows: Rows) -> None:
        """Add the samples of one batch."""
        found = torch.stack([_sums(leaf) for leaf in rows if isinstance(leaf, Tensor) and leaf.ndim])
        self._sums = self._sums + found if len(self._sums) else found

    def agrees(self, first: Checksum) -> bool:
        """Return whether the samples are the same, up to rounding."""
        elements, _, squares, _ = first._sums.unbind(1)
        scale = (elements * squares).sqrt()  # no sum is larger
        near = (self._sums - first._sums).abs() <= _TOLERANCE * torch.stack([elements, scale, squares, scale], 1)
        return bool((near | ~(self._sums - first._sums).isfinite()).all())


def _sums(leaf: Tensor) -> Tensor:
    real = torch.view_as_real(leaf) if leaf.is_complex() else leaf
    flat = real.double().reshape(len(leaf), -1)
    by_place = flat.sum(0)
    weights = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64).sin()  # a flip of an image changes nothing else
    return torch.stack([weights.new_tensor(flat.numel()), by_place.sum(), flat.square().sum(), weights @ by_place])
