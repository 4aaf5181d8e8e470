"""Statistics over ranks: several ranks compute what one process computes on all their samples."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from nn_twins import ROUNDING, assert_same
from sync_ranks import STATISTICS, assert_ranks_equal_one_process, batches, layer_of, over_ranks, steps_of
from torch import Tensor, nn

from bnlens.nn._ghost import group_sizes
from bnlens.nn._sync import pieces_of_groups
from gloo_pool import GlooPool

# Of 64 samples: torch's, ghost groups of whole ranks, of parts of ranks and across them, a window, population.
REGIMES = [None, 64, 32, 24, 16, 10, 256, math.inf]
SHAPES = [(64, 3), (64, 3, 3, 2)]


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlooPool]:
    pool = GlooPool(tmp_path_factory.mktemp("four"), world_size=4)
    yield pool
    pool.close()


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "4d"])
@pytest.mark.parametrize("counts", [(32, 32), (41, 23), (64, 0), (0, 64)], ids=str)
def test_two_ranks_are_one_process(gloo_pool: GlooPool, counts, shape, M):
    assert_ranks_equal_one_process(gloo_pool, M, shape, counts)


@pytest.mark.slow
@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "4d"])
@pytest.mark.parametrize("counts", [(16, 16, 16, 16), (0, 9, 50, 5)], ids=str)
def test_four_ranks_are_one_process(four_ranks: GlooPool, counts, shape, M):
    assert_ranks_equal_one_process(four_ranks, M, shape, counts)


@pytest.mark.slow
@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("counts", [(16, 16, 16, 16), (1, 0, 60, 3)], ids=str)
def test_in_double_precision(four_ranks: GlooPool, counts, M):
    tolerances = (1e-10, 1e-10)
    assert_ranks_equal_one_process(four_ranks, M, (64, 3, 2, 2), counts, dtype=torch.float64, tolerances=tolerances)


@st.composite
def partitions(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    cuts = sorted(draw(st.lists(st.integers(0, sum(sizes)), max_size=5)))
    ends = [0, *cuts, sum(sizes)]
    return [end - start for start, end in pairwise(ends)], sizes


@given(partition=partitions())
def test_pieces_are_the_intersections_of_ranks_and_groups(partition):
    samples, sizes = partition
    holder = [rank for rank, count in enumerate(samples) for _ in range(count)]
    member = [group for group, size in enumerate(sizes) for _ in range(size)]
    groups = pieces_of_groups(samples, sizes)
    held = [(piece, group) for group, pieces in enumerate(groups) for piece in pieces]
    found = [(piece.rank, group) for piece, group in held for _ in range(piece.samples)]
    assert found == list(zip(holder, member, strict=True))
    assert all(piece.samples for piece, _ in held)
    for rank in range(len(samples)):
        parts = [piece.part for piece, _ in held if piece.rank == rank]
        assert parts == list(range(len(parts)))


@pytest.mark.parametrize("M", [None, 9, 6, 2])
def test_images_may_have_other_sizes_on_other_ranks(gloo_pool: GlooPool, M):
    """Against plain autograd on the values of each group, whichever rank they come from."""
    layer = layer_of(4, M, dtype=torch.float64, sync=True)
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 3, 4, 4), (5, 3, 3, 1)]
    given = [[torch.randn(2, *shape, dtype=torch.float64, generator=generator).unbind()] for shape in shapes]
    ranks = [step for (step,) in gloo_pool.run(steps_of, [(layer, one) for one in given])]
    leaves = [x.clone().requires_grad_() for ((x, _),) in given]
    weight, bias = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias))
    images = [image.flatten(1).T for leaf in leaves for image in leaf]  # (pixels, C) each
    outputs: list[Tensor] = []
    for group in torch.arange(12).split(group_sizes(12, M or 12)):
        values = torch.cat([images[i] for i in group])
        y = F.batch_norm(values, None, None, weight, bias, True, 0.0, layer.eps)
        outputs += y.split([len(images[i]) for i in group])
    cotangents = [image.flatten(1).T for ((_, cotangent),) in given for image in cotangent]
    torch.cat(outputs).backward(torch.cat(cotangents))
    flat = [image.flatten(1).T for rank in ranks for image in rank["output"]]
    torch.testing.assert_close(torch.cat(flat), torch.cat(outputs).detach(), rtol=0, atol=1e-10)
    for rank, leaf in zip(ranks, leaves, strict=True):
        torch.testing.assert_close(rank["input"], leaf.grad, rtol=0, atol=1e-10)
    for name, parameter in (("weight", weight), ("bias", bias)):
        total = sum(rank[f"gradient of {name}"] for rank in ranks)
        torch.testing.assert_close(total, parameter.grad, rtol=0, atol=1e-10)
    plain = nn.BatchNorm1d(3, dtype=torch.float64)
    plain(torch.cat([image.detach() for image in images]))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(ranks[1][name], getattr(plain, name), rtol=0, atol=1e-10)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_bad_value_on_one_rank_leaves_no_trace_on_any(gloo_pool: GlooPool, momentum, M):
    given = batches((64, 3, 2, 2), 3)
    given[1][0][40, 1, 0, 0] = math.nan  # rank 1's
    given[1][0][41, 2, 0, 0] = math.inf
    before, bad, after = over_ranks(gloo_pool, layer_of(4, M, momentum=momentum, sync=True), given, (32, 32))
    assert [int(step["skipped_batches"]) for step in (before, bad, after)] == [0, 1, 1]
    assert all(torch.equal(bad[name], before[name]) for name in STATISTICS if name != "skipped_batches")
    assert after["output"].isfinite().all()
    expected = steps_of((layer_of(4, M, momentum=momentum), given))[1]["output"]
    assert torch.equal(bad["output"].isfinite(), expected.isfinite())  # the loss sees it where it would in one process
    assert not bad["output"][40, 1].isfinite().any()


@pytest.mark.parametrize("M", [None, 4, 20, math.inf])
@pytest.mark.parametrize("track", [True, False])
def test_a_batch_that_is_empty_on_all_ranks_changes_nothing(gloo_pool: GlooPool, track, M):
    given = [*batches((8, 3, 2, 2), 1), *batches((0, 3, 2, 2), 1)]
    layer = layer_of(4, M, sync=True)
    shares = [[(x.split(len(x) // 2)[rank] if len(x) else x, x[: len(x) // 2]) for x, _ in given] for rank in (0, 1)]
    for before, after in gloo_pool.run(steps_of, [(layer, share) for share in shares]):
        assert after["output"].shape == after["input"].shape == (0, 3, 2, 2)
        assert all(torch.equal(after[name], before[name]) for name in STATISTICS)


@pytest.mark.parametrize("M", REGIMES)
def test_a_large_mean_costs_no_precision(gloo_pool: GlooPool, M):
    """At a mean of a hundred standard deviations float32 ranks are as near to double precision as one process is."""
    given = [(x / 2 + 100, cotangent) for x, cotangent in batches((64, 3, 4, 4), 1)]
    exact = steps_of((layer_of(4, M).double(), [(x.double(), cotangent.double()) for x, cotangent in given]))[0]
    one = steps_of((layer_of(4, M), given))[0]
    found = over_ranks(gloo_pool, layer_of(4, M, sync=True), given, (40, 24))[0]
    for name in ("output", "input", "running_mean", "running_var"):
        error, allowed = (float((step[name] - exact[name]).abs().max()) for step in (found, one))
        assert error <= 2 * allowed + 1e-6, name


@pytest.mark.parametrize("M", [None, 24, 256])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_inputs_have_wide_statistics(gloo_pool: GlooPool, dtype, M):
    given = [(100 + x.to(dtype), cotangent.to(dtype)) for x, cotangent in batches((64, 3, 2, 2), 2)]
    found = over_ranks(gloo_pool, layer_of(4, M, sync=True), given, (40, 24))
    exact = steps_of((layer_of(4, M), [(x.float(), cotangent.float()) for x, cotangent in given]))
    for step, expected in zip(found, exact, strict=True):
        assert step["output"].dtype == step["input"].dtype == dtype
        for names, tolerance in ((("output", "input"), 2 * torch.finfo(dtype).eps), (STATISTICS, ROUNDING)):
            one, other = ({name: values[name] for name in names} for values in (step, expected))
            assert_same({name: value.to(other[name].dtype) for name, value in one.items()}, other, tolerance)


@pytest.mark.parametrize("M", [None, 24, 256])
def test_channels_last_stays(gloo_pool: GlooPool, M):
    given = batches((64, 3, 3, 2), 1)
    last = [tuple(t.contiguous(memory_format=torch.channels_last) for t in pair) for pair in given]
    layer = layer_of(4, M, sync=True)
    for rank, share in enumerate(gloo_pool.run(layouts, [(layer, last, slice(0, 40)), (layer, last, slice(40, 64))])):
        assert share == [True, True], rank
    found, expected = (over_ranks(gloo_pool, layer, steps, (40, 24))[0] for steps in (last, given))
    assert_same(found, expected, ROUNDING)


def exchanges(job):
    """How often the ranks gather and sum in one forward and backward pass."""
    layer, given = job
    counts = dict.fromkeys(("all_gather", "all_reduce"), 0)

    def counting(name, function):
        def counted(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in counts:
            patch.setattr(dist, name, counting(name, getattr(dist, name)))
        steps_of((layer, given))
    return tuple(counts.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("M", "expected"), [(None, (1, 1)), (256, (1, 1)), (16, (1, 0)), (8, (1, 0)), (32, (1, 1)), (24, (2, 1))]
)
def test_ranks_exchange_no_more_than_they_must(four_ranks: GlooPool, M, expected):
    """Groups within ranks need no sums in the backward pass, groups of whole ranks no statistics of parts."""
    ((x, cotangent),) = batches((64, 3), 1)
    jobs = [(layer_of(2, M, sync=True), [share]) for share in zip(x.split(16), cotangent.split(16), strict=True)]
    assert four_ranks.run(exchanges, jobs) == [expected] * 4


def layouts(job):
    layer, given, share = job
    x, cotangent = (t[share] for t in given[0])
    (step,) = steps_of((layer, [(x, cotangent)]))
    return [step[name].is_contiguous(memory_format=torch.channels_last) for name in ("output", "input")]


def in_pairs(job):
    layer, given = job
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    layer.sync = pairs[dist.get_rank() // 2]
    steps = steps_of((layer, given))
    shown = repr(layer)
    for pair in pairs:
        if isinstance(pair, dist.ProcessGroup):
            dist.destroy_process_group(pair)
    return steps, shown


@pytest.mark.slow
def test_a_process_group_takes_statistics_over_its_ranks(four_ranks: GlooPool):
    given = batches((64, 3), 2)
    shares = [[(x.split(16)[rank], c.split(16)[rank]) for x, c in given] for rank in range(4)]
    ranks = four_ranks.run(in_pairs, [(layer_of(2, 64), share) for share in shares])
    assert "statistics_batch_size=64, sync=ProcessGroup" in ranks[0][1]
    for pair in (0, 1):
        half = [(x.split(32)[pair], c.split(32)[pair]) for x, c in given]
        for step, expected in enumerate(steps_of((layer_of(2, 64), half))):
            found = torch.cat([ranks[2 * pair + rank][0][step]["output"] for rank in (0, 1)])
            torch.testing.assert_close(found, expected["output"], rtol=0, atol=1e-5)
