"""The pool of samples: batches and their places, uneven and nested loaders, ranks that share it, and mistakes."""

import multiprocessing
from collections import UserDict
from itertools import chain
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from bnlens.errors import DataError
from bnlens.measure._pool import Batch, SamplePool
from bnlens.measure._ranks import StoppedError
from bnlens.measure._stream import StreamedPool

X = torch.arange(46.0).view(23, 2)
Y = torch.arange(23)
NAMES = [f"image {i}" for i in range(23)]


def loader(start: int = 0, stop: int = 23, size: int = 5) -> list[Any]:
    """Batches of ((x,), y, names) with one value that is not a sample."""
    cuts = [range(stop)[i : i + size] for i in range(start, stop, size)]
    return [
        {"in": (X[c.start : c.stop],), "y": Y[c.start : c.stop], "name": NAMES[c.start : c.stop], "k": 3} for c in cuts
    ]


def rows(batch: Batch) -> list[int]:
    """Which samples a batch holds; all of its leaves must tell the same."""
    found = batch.data["y"].tolist()
    assert batch.data["name"] == [NAMES[i] for i in found]
    assert batch.data["k"] == 3
    assert batch.size == len(found)
    assert torch.equal(batch.data["in"][0], X[found])
    return found


def test_in_order_in_even_batches() -> None:
    pool = SamplePool.from_loader(loader(), 100)
    assert (len(pool), pool.size, pool.own, pool.batch_size) == (23, 23, 23, 5)
    batches = list(pool.in_order(11))
    assert [batch.size for batch in batches] == [8, 8, 7]
    assert [batch.number for batch in batches] == [0, 1, 2]
    assert [row for batch in batches for row in rows(batch)] == list(range(23))
    assert [rows(a) for a in pool.shard(11)] == [rows(b) for b in batches]
    assert all(batch.indices is not None and batch.indices.tolist() == rows(batch) for batch in batches)


def test_shuffled_is_a_permutation_that_the_generator_decides() -> None:
    pool = SamplePool.from_loader(loader(), 100)
    first, again, other = ([rows(b) for b in pool.shuffled(10, torch.Generator().manual_seed(s))] for s in (1, 1, 2))
    assert [len(part) for part in first] == [10, 10, 3]
    assert sorted(chain.from_iterable(first)) == list(range(23))
    assert first == again != other


class Described(torch.Tensor):
    """Keeps a word for each sample of its batch, as monai's MetaTensor does, and so cannot be regrouped."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.__getitem__, torch.cat):
            raise ValueError("words of other samples")
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("pool", [SamplePool, StreamedPool])
def test_subclasses_of_tensors_become_plain(pool: type[SamplePool] | type[StreamedPool]) -> None:
    batches = [(x.as_subclass(Described), y) for x, y in zip(X.split(5), Y.split(5), strict=True)]
    for batch in pool.from_loader(batches, 100).shuffled(4, torch.Generator()):
        x, y = batch.data
        assert type(x) is torch.Tensor
        assert torch.equal(x, X[y])


def test_at_most_max_samples() -> None:
    pool = SamplePool.from_loader(loader(), 7)
    assert len(pool) == 7
    assert rows(next(pool.in_order(7))) == list(range(7))


def test_batches_are_copies() -> None:
    x = torch.zeros(4, 2)
    pool = SamplePool.from_loader([(x, x)], 4)
    next(pool.in_order(4)).data[0].add_(1)
    assert float(next(pool.in_order(4)).data[0].sum()) == 0


def test_a_mapping_that_is_no_dict() -> None:
    pool = SamplePool.from_loader([UserDict(x=X, labels=Y)], 100)
    assert sorted(next(pool.in_order(23)).data) == ["labels", "x"]


def test_workers_of_a_loader_end() -> None:
    before = set(multiprocessing.active_children())
    pool = SamplePool.from_loader(DataLoader(TensorDataset(X, Y), batch_size=4, num_workers=2), 9)
    assert len(pool) == 9
    assert set(multiprocessing.active_children()) <= before


MISTAKES: dict[str, list[Any]] = {
    "the loader is empty": [],
    "holds no tensor": [("a", 1)],
    "different lengths": [(X, Y[:3])],
    "differ in structure": [(X, Y), {"x": X}],
    "samples have different shapes": [(X,), (X[:, :1],)],
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes(words: str) -> None:
    with pytest.raises(DataError, match=words):
        SamplePool.from_loader(MISTAKES[words], 100)


def _sweeps(share: tuple[int, int]) -> dict[str, Any]:
    pool = SamplePool.from_loader(loader(*share), 1000)
    generator = torch.Generator().manual_seed(5)
    sweeps = {
        "order": list(pool.in_order(4)),
        "shuffled": list(pool.shuffled(6, generator)),
        "shard": list(pool.shard(4)),
    }
    found: dict[str, Any] = {name: [(b.number, rows(b)) for b in batches] for name, batches in sweeps.items()}
    assert all(b.indices is not None and b.indices.tolist() == rows(b) for batches in sweeps.values() for b in batches)
    return found | {"sizes": (pool.size, pool.own, pool.batch_size)}


@pytest.mark.parametrize("cut", [11, 3, 20])
def test_ranks_share_the_batches_of_one_process(gloo_pool: Any, cut: int) -> None:
    alone = _sweeps((0, 23))
    ranks = gloo_pool.run(_sweeps, [(0, cut), (cut, 23)])
    assert [found["sizes"][:2] for found in ranks] == [(23, cut), (23, 23 - cut)]
    for sweep in ("order", "shuffled"):
        assert sorted(ranks[0][sweep] + ranks[1][sweep]) == alone[sweep]
        assert {number % 2 for number, _ in ranks[1][sweep]} == {1}
    shards = sorted(ranks[0]["shard"] + ranks[1]["shard"], key=lambda item: item[1])
    assert list(chain.from_iterable(found for _, found in shards)) == list(range(23))
    assert len({number for number, _ in shards}) == len(shards)


def _leaves_early(fails: bool) -> str:
    pool = SamplePool.from_loader(loader(), 1000)
    try:
        for batch in pool.in_order(4):
            if fails and batch.number > 3:
                raise ValueError("no further")
    except (ValueError, StoppedError) as error:
        return type(error).__name__
    return "went to the end"


def test_a_rank_that_leaves_a_sweep_ends_it_for_all(gloo_pool: Any) -> None:
    assert gloo_pool.run(_leaves_early, [True, False]) == ["ValueError", "StoppedError"]
    assert gloo_pool.run(_leaves_early, [False, False]) == ["went to the end"] * 2


def _all_leave(seed: int) -> list[int]:
    pool = SamplePool.from_loader(loader(), 1000)
    first = next(pool.in_order(4))
    return [first.number, len(list(pool.in_order(4)))]


def test_all_ranks_may_leave_together(gloo_pool: Any) -> None:
    assert gloo_pool.run(_all_leave, [0, 0]) == [[0, 6], [1, 6]]


def _share(batches: list[Any]) -> Any:
    try:
        return SamplePool.from_loader(batches, 9).own
    except DataError as error:
        return str(error)


def test_max_samples_counts_all_ranks_and_a_mistake_is_everyones(gloo_pool: Any) -> None:
    assert gloo_pool.run(_share, [loader(), loader()]) == [5, 4]
    assert all("the loader is empty" in message for message in gloo_pool.run(_share, [loader(), []]))
