"""Values and errors that ranks exchange."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from measure_cases import batches, conv, data, initialised, mlp, seeded

import bnlens
from bnlens._ranks import gather, world
from bnlens.errors import DataError
from bnlens.measure import Report
from bnlens.measure._ranks import StoppedError, agree, agreeing, in_number_order


class Awkward(Exception):  # noqa: N818
    """Cannot be copied to another process."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


ERRORS = {"data": DataError("too few"), "awkward": Awkward("a", "b"), "stopped": StoppedError("another"), "none": None}


def test_one_process() -> None:
    assert world() == (0, 1)
    assert gather("x") == ["x"]
    assert in_number_order([(2, "c"), (0, "a")]) == ["a", "c"]
    agree(None)
    error = Awkward("a", "b")
    with pytest.raises(Awkward) as raised, agreeing():
        raise error
    assert raised.value is error


def _exchange(items: list[tuple[int, torch.Tensor]]) -> Any:
    return world(), [float(value) for value in in_number_order(items)]


def test_values_come_in_the_order_of_their_numbers(gloo_pool: Any) -> None:
    ranks = gloo_pool.run(_exchange, [[(i, torch.tensor(float(i))) for i in (0, 2, 4)], [(1, torch.tensor(1.0))]])
    assert ranks == [((0, 2), [0.0, 1.0, 2.0, 4.0]), ((1, 2), [0.0, 1.0, 2.0, 4.0])]


def _agree(kind: str) -> str:
    try:
        with agreeing():
            if (error := ERRORS[kind]) is not None:
                raise error
    except Exception as error:  # noqa: BLE001
        dist.barrier()
        return f"{type(error).__name__}: {error}"
    return "fine"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("none", "none", ["fine", "fine"]),
        ("none", "data", ["DataError: too few"] * 2),
        ("stopped", "data", ["DataError: too few"] * 2),
        ("awkward", "none", ["Awkward: ab", "RuntimeError: Awkward: ab"]),
        ("stopped", "stopped", ["StoppedError: another"] * 2),
    ],
)
def test_an_error_of_one_is_an_error_of_all(gloo_pool: Any, first: str, second: str, words: list[str]) -> None:
    assert gloo_pool.run(_agree, [first, second]) == words


def _report(shard: list[Any]) -> Report:
    model = seeded(lambda: initialised(conv(2), 2, 4, 4))().double()
    options: dict[str, Any] = {"alone": True, "fisher": True, "rounds": 2, "progress": False}
    return bnlens.report(model, shard, F.cross_entropy, statistics_batch_size=(4, 8), **options)


def test_a_report_of_two_ranks_is_that_of_one_process(gloo_pool: Any) -> None:
    """Shards of different sizes, in float64; draws, groups and nodes are the same, so only the order of sums differs."""
    x, y = data(2, 4, 4)
    loader = batches(x.double(), y, size=16)  # or groups of consecutive samples would be other ones
    whole, ranks = _report(loader), gloo_pool.run(_report, [loader[:1], loader[1:]])
    assert ranks[0].to_frame().equals(ranks[1].to_frame())
    assert whole.samples == ranks[0].samples
    torch.testing.assert_close(
        torch.tensor(ranks[0].to_frame().to_numpy(float)), torch.tensor(whole.to_frame().to_numpy(float)),
        rtol=1e-6, atol=1e-9, equal_nan=True,
    )  # fmt: skip


class _Drawing(torch.nn.Sequential):
    """Draws random numbers on the first rank alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return F.dropout(y, 0.5, training=True) if world()[0] == 0 else y


def _noted(shard: list[Any]) -> list[tuple[str, str]]:
    model = _Drawing(*seeded(mlp)())
    report = bnlens.report(model, shard, F.cross_entropy, statistics_batch_size=4, rounds=1, shares=False)
    return [(note.kind, note.text) for note in report.notes if note.kind == "stochastic forward"]


def test_passes_that_differ_on_one_rank_have_the_same_note_on_all(gloo_pool: Any) -> None:
    first, second = gloo_pool.run(_noted, [batches(*data(5)), batches(*data(5))])
    assert first == second
    assert len(first) == 1
