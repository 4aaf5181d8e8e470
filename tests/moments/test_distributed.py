from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from bnlens.errors import UsageError
from bnlens.moments import CrossMoments, Moments, MomentSums, all_merge, merge_moments
from gloo_pool import GlooPool


def merge_over_ranks(batches: list[np.ndarray]) -> dict[str, Any]:
    """Runs on every rank: its batches in, what it sees of all ranks out."""
    moments, cross = Moments(3), CrossMoments(3)
    for batch in batches:
        moments.update(torch.from_numpy(batch))
        cross.update(torch.from_numpy(batch))
    merged, merged_cross = moments.all_merge(), cross.all_merge()
    return {
        "sums": merged.sums,
        "cross": merged_cross.sums,
        "own": int(moments.sums.count),
        "again": int(moments.all_merge().sums.count),
    }


def merge_with_width(num_features: int) -> str:
    try:
        Moments(num_features).all_merge()
    except UsageError as error:
        return str(error)
    return "merged"


def merge_in_group_of_rank_0(batch: np.ndarray) -> Any:
    group = dist.new_group([0])
    moments = Moments(3)
    moments.update(torch.from_numpy(batch))
    try:
        return int(moments.all_merge(group).sums.count)
    except UsageError as error:
        return str(error)


def fail(reason: str) -> None:
    """Fail with the reason; without one, wait for the other rank."""
    if reason:
        raise ValueError(reason)
    dist.barrier()


def data(samples: int) -> np.ndarray:
    return np.random.default_rng(0).exponential(size=(samples, 3)) + 1e4


@pytest.mark.parametrize("cut", [0, 3, 40, 100])
def test_ranks_with_any_counts_see_the_whole(gloo_pool: GlooPool, cut: int) -> None:
    samples = data(100)
    bad = np.full((2, 3), np.nan)
    results = gloo_pool.run(merge_over_ranks, [[samples[:cut], bad], [samples[cut:60], samples[max(cut, 60) :], bad]])
    whole = Moments(3)
    whole.update(torch.from_numpy(samples))
    for result, own in zip(results, (cut, 100 - cut), strict=True):
        assert (result["own"], result["again"]) == (own, 100)
        assert (result["sums"].count, result["sums"].skipped_batches) == (100, 2)
        assert result["sums"].count.dtype == torch.int64
        for name in ("mean", "sum2", "sum3", "sum4"):
            torch.testing.assert_close(getattr(result["sums"], name), getattr(whole.sums, name), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(result["cross"].comoment / 100, np.cov(samples.T, bias=True), rtol=1e-9, atol=1e-9)
    first, second = results
    for kind in ("sums", "cross"):
        assert all(torch.equal(vars(first[kind])[name], vars(second[kind])[name]) for name in vars(first[kind]))


def test_ranks_that_saw_nothing_give_empty_sums(gloo_pool: GlooPool) -> None:
    for result in gloo_pool.run(merge_over_ranks, [[], []]):
        assert (result["sums"].count, result["sums"].skipped_batches) == (0, 0)


def test_a_difference_in_channels_is_told_to_every_rank(gloo_pool: GlooPool) -> None:
    for message in gloo_pool.run(merge_with_width, [3, 4]):
        assert message == "the ranks keep sums over [3, 4] channels; give each rank the same num_features"


def test_a_group_merges_its_members_only(gloo_pool: GlooPool) -> None:
    inside, outside = gloo_pool.run(merge_in_group_of_rank_0, [data(7), data(5)])
    assert inside == 7
    assert outside.startswith("this rank is not a member of the group")


def test_without_a_process_group_the_sentence_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"no process group .* call torch\.distributed\.init_process_group first"):
        all_merge(MomentSums.empty(2), merge_moments)
    with pytest.raises(UsageError, match="no process group"):
        CrossMoments(2).all_merge()


def test_a_failure_on_a_rank_fails_the_test_though_the_other_waits(tmp_path: Path) -> None:
    pool = GlooPool(tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)gloo rank 1 failed.*ValueError: had enough"):
        pool.run(fail, ["", "had enough"])
