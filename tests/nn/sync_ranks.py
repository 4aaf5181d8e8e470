"""What the tests of statistics over ranks run on each rank, and the same on one process."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from nn_twins import ROUNDING, assert_same, results
from torch import Tensor, nn

import bnlens.nn
from gloo_pool import GlooPool

STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "window", "skipped_batches")
Batch = tuple[Tensor, Tensor]  # input and cotangent


def layer_of(ndim: int, M: float | None, *, dtype: torch.dtype = torch.float32, **kwargs: Any) -> nn.Module:
    """A layer of three channels with random gamma and beta."""
    cls = {2: bnlens.nn.BatchNorm1d, 4: bnlens.nn.BatchNorm2d}[ndim]
    layer = cls(3, statistics_batch_size=M, dtype=dtype, **kwargs)
    torch.manual_seed(0)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def batches(shape: Sequence[int], steps: int, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(steps, 2, *shape, dtype=torch.float64, generator=generator).to(dtype)
    return [(2 * x + step, cotangent) for step, (x, cotangent) in enumerate(draws)]


def steps_of(job: tuple[nn.Module, list[Batch]]) -> list[dict[str, Tensor]]:
    """Runs on every rank: outputs, gradients and statistics after each batch."""
    layer, given = job

    def statistics() -> dict[str, Tensor]:
        found = {name: getattr(layer, name) for name in STATISTICS}
        return {name: torch.zeros(()) if value is None else value.clone() for name, value in found.items()}

    return [results(layer, *batch) | statistics() for batch in given]


def over_ranks(pool: GlooPool, layer: nn.Module, given: list[Batch], counts: Sequence[int]) -> list[dict[str, Tensor]]:
    """The steps of the ranks put together: outputs joined, gradients of gamma and beta summed, statistics the same on all."""
    shares = zip(*(zip(x.split(counts), cotangent.split(counts), strict=True) for x, cotangent in given), strict=True)
    ranks = pool.run(steps_of, [(layer, list(share)) for share in shares])
    together = []
    for step in zip(*ranks, strict=True):
        found = {}
        for name, first in step[0].items():
            values = [rank[name] for rank in step]
            if name in ("output", "input"):
                found[name] = torch.cat(values)
            elif name.startswith("gradient"):
                found[name] = torch.stack(values).sum(0)
            else:
                assert all(torch.equal(value, first) for value in values), name
                found[name] = first
        together.append(found)
    return together


def assert_ranks_equal_one_process(
    pool: GlooPool,
    M: float | None,
    shape: Sequence[int],
    counts: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    tolerances: tuple[float, float] = (1e-5, ROUNDING),
    steps: int = 3,
) -> None:
    """Outputs and gradients to the first tolerance, statistics to the second."""
    given = batches(shape, steps, dtype=dtype)
    found = over_ranks(pool, layer_of(len(shape), M, dtype=dtype, sync=True), given, counts)
    expected = steps_of((layer_of(len(shape), M, dtype=dtype), given))
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for of_statistics, tolerance in zip((False, True), tolerances, strict=True):
            names = [name for name in other if (name in STATISTICS) == of_statistics]
            assert_same(*({name: step[name] for name in names} for step in (one, other)), tolerance)
    assert math.isfinite(float(expected[-1]["output"].abs().sum()))
