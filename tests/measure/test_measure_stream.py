"""The pool that is read again for each sweep: the same samples each time, whatever the batches, and flat memory."""

import multiprocessing
import weakref
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bnlens.errors import DataError
from bnlens.measure._pool import Batch
from bnlens.measure._stream import StreamedPool

COUNT = 103
X = torch.randn(COUNT, 3, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(COUNT)
NAMES = [f"image {i}" for i in range(COUNT)]


class Loader:
    """Batches of (x, name, y) in an order that is drawn anew each time if ``shuffled``, changed by ``change``."""

    def __init__(self, rows: range = range(COUNT), size: int = 10, shuffled: bool = False, change: Any = None) -> None:
        self.rows, self.size, self.shuffled, self.change = rows, size, shuffled, change
        self.generator = torch.Generator().manual_seed(0)
        self.sweeps = 0

    def __iter__(self) -> Iterator[Any]:
        self.sweeps += 1
        order = torch.tensor(self.rows)
        if self.shuffled:
            order = order[torch.randperm(len(order), generator=self.generator)]
        for part in torch.split(order, self.size):
            x = X[part] if self.change is None else self.change(X[part], self.sweeps)
            yield x, [NAMES[i] for i in part.tolist()], Y[part]


def rows(batch: Batch) -> list[int]:
    x, names, y = batch.data
    assert batch.indices is None
    assert batch.size == len(y)
    assert torch.equal(x, X[y])
    assert names == [NAMES[i] for i in y.tolist()]
    found: list[int] = y.tolist()
    return found


@pytest.mark.parametrize("size", [1, 7, 10, 64, 103, 500])
@pytest.mark.parametrize("ask", [5, 10, 60])
def test_all_samples_once(size: int, ask: int) -> None:
    pool = StreamedPool.from_loader(Loader(size=size), 1000)
    assert (len(pool), pool.own, pool.batch_size) == (COUNT, COUNT, min(size, COUNT))
    batches = list(pool.in_order(ask))
    assert [row for batch in batches for row in rows(batch)] == list(range(COUNT))
    assert max(batch.size for batch in batches) - min(batch.size for batch in batches) <= 1
    shuffled = list(pool.shuffled(ask, torch.Generator().manual_seed(0)))
    assert [batch.size for batch in shuffled] == [ask] * (COUNT // ask) + ([COUNT % ask] if COUNT % ask else [])
    assert [batch.number for batch in shuffled] == list(range(len(shuffled)))
    drawn = [row for batch in shuffled for row in rows(batch)]
    assert sorted(drawn) == list(range(COUNT)) != drawn


def test_the_generator_decides_the_order() -> None:
    pool = StreamedPool.from_loader(Loader(), 1000)
    first, again, other = (
        list(chain.from_iterable(map(rows, pool.shuffled(5, torch.Generator().manual_seed(s))))) for s in (1, 1, 2)
    )
    assert first == again != other
    assert any(abs(row - place) > 30 for place, row in enumerate(first))


def test_a_loader_that_shuffles_and_one_that_is_cut() -> None:
    pool = StreamedPool.from_loader(Loader(shuffled=True), 1000)
    assert sorted(chain.from_iterable(map(rows, pool.in_order(9)))) == list(range(COUNT))
    pool = StreamedPool.from_loader(Loader(), 37)
    assert list(chain.from_iterable(map(rows, pool.in_order(9)))) == list(range(37))
    assert sorted(chain.from_iterable(map(rows, pool.shuffled(4, torch.Generator())))) == list(range(37))


def test_batches_of_the_loader_stay_as_they_are() -> None:
    batches = [(x.clone(), y) for x, y in zip(X.split(8), Y.split(8), strict=True)]
    pool = StreamedPool.from_loader(batches, 1000)
    for batch in (*pool.shuffled(8, torch.Generator()), *pool.in_order(8)):
        batch.data[0].zero_()
    assert torch.equal(torch.cat([x for x, _ in batches]), X)


def jitter(x: Tensor, sweep: int) -> Tensor:
    return x + 1e-3 * sweep


def flip(x: Tensor, sweep: int) -> Tensor:
    return x.flip(-1) if sweep > 1 else x


@pytest.mark.parametrize(
    ("loader", "limit"),
    [
        (lambda: Loader(change=jitter), 1000),
        (lambda: Loader(change=flip), 1000),
        (lambda: Loader(shuffled=True), 40),
        (lambda: DataLoader(TensorDataset(X, Y), batch_size=10, shuffle=True, drop_last=True), 1000),
    ],
    ids=["augmented", "flipped", "shuffled and cut", "drop_last"],
)
def test_other_samples_are_an_error(loader: Callable[[], Any], limit: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pool = StreamedPool.from_loader(loader(), limit)
        for sweep in (pool.in_order(8), pool.shuffled(8, torch.Generator())):
            with pytest.raises(DataError, match=r"other samples each time .* hold=True"):
                for _ in sweep:
                    pass


def test_values_that_are_not_finite_are_no_other_samples() -> None:
    x = X.clone()
    x[3] = float("nan")
    pool = StreamedPool.from_loader([(x, Y)], 1000)
    assert sum(batch.size for batch in pool.in_order(20)) == COUNT


class Shrinking(Loader):
    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        self.rows = range(len(self.rows) - 20)


class Growing(Loader):
    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        self.rows = range(len(self.rows) + 1)


def test_loaders_that_cannot_be_iterated_again() -> None:
    with pytest.raises(DataError, match=r"only once; .* hold=True"):
        StreamedPool.from_loader(iter(Loader()), 1000)
    for loader, words in ((Shrinking(), "103 samples the first time and 83"), (Growing(range(50)), "and more later")):
        pool = StreamedPool.from_loader(loader, 1000)
        with pytest.raises(DataError, match=words):
            list(pool.shuffled(30, torch.Generator()))


@pytest.mark.parametrize(
    ("batches", "words"),
    [([], "the loader is empty"), ([(X,), (X[:, :2],)], "different shapes"), ([(X, Y[:2])], "different lengths")],
)
def test_mistakes(batches: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        StreamedPool.from_loader(batches, 1000)


def test_only_a_few_batches_are_held() -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    class Tracked(Loader):
        def __iter__(self) -> Iterator[Any]:
            nonlocal most
            for x, _, y in super().__iter__():
                alive.add(x)
                most = max(most, len(alive))
                yield x, y

    pool = StreamedPool.from_loader(Tracked(size=1), 1000)
    for sweep in (pool.in_order(2), pool.shuffled(2, torch.Generator())):
        for batch in sweep:
            assert batch.size <= 2
    assert 1 <= most <= 20  # of 103: the first filling of the buffer holds sixteen
    assert not alive


def test_workers_of_a_loader_end() -> None:
    before = set(multiprocessing.active_children())
    pool = StreamedPool.from_loader(DataLoader(TensorDataset(X, Y), batch_size=10, num_workers=2), 40)
    assert sum(batch.size for batch in pool.in_order(16)) == 40
    assert next(pool.shuffled(4, torch.Generator())).size == 4
    assert set(multiprocessing.active_children()) <= before


def _sweep(share: range) -> Any:
    pool = StreamedPool.from_loader(Loader(share), 1000)
    batches = [*pool.in_order(9)], [*pool.shuffled(9, torch.Generator())], [*pool.shard(pool.own)]
    return pool.size, pool.own, [[(batch.number, rows(batch)) for batch in sweep] for sweep in batches]


def test_each_rank_streams_its_own(gloo_pool: Any) -> None:
    shares = [range(40), range(40, COUNT)]
    found = gloo_pool.run(_sweep, shares)
    assert [item[:2] for item in found] == [(COUNT, 40), (COUNT, 63)]
    for sweep in range(3):
        for (_, _, sweeps), share in zip(found, shares, strict=True):
            assert sorted(chain.from_iterable(part for _, part in sweeps[sweep])) == list(share)
        numbers = [number for _, _, sweeps in found for number, _ in sweeps[sweep]]
        assert len(set(numbers)) == len(numbers)
