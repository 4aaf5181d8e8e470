"""The joint batch of a process group: the samples of all ranks, in rank order, and their statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from bnlens.errors import UsageError
from bnlens.nn._statistics import BatchStatistics, batch_statistics, statistics_dtype

__all__ = [
    "JointBatch",
    "check_batch_sizes",
    "gather_joint_batch",
    "gather_rows",
    "merged",
    "several_ranks",
    "sync_group",
]


def sync_group(sync: bool | dist.ProcessGroup) -> dist.ProcessGroup | None:
    """Return the process group that a layer with this ``sync`` takes statistics over; None where that is this rank alone.

    Raises:
        UsageError: no process group is initialised.
    """
    if sync is False:
        return None
    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError(
            "a layer with sync=True trains on the statistics of all ranks, but there is no process group; call "
            "torch.distributed.init_process_group first, or set sync=False"
        )
    group = dist.group.WORLD if sync is True else sync
    return group if dist.get_world_size(group) > 1 else None


def several_ranks() -> bool:
    """Return whether this process is one of several ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class JointBatch(NamedTuple):
    """The samples of all ranks, in rank order.

    Attributes:
        group: the ranks.
        rank: this one's number in the group.
        samples: of each rank.
        pixels: of one sample, for each rank.
        rows: mean and biased variance of each rank's samples, (ranks, 2, C), float64; zeros where there are none.
        statistics: of them together, bit for bit the same on every rank.
    """

    group: dist.ProcessGroup
    rank: int
    samples: list[int]
    pixels: list[int]
    rows: Tensor
    statistics: BatchStatistics


@torch.no_grad()
def gather_joint_batch(x: Tensor, group: dist.ProcessGroup, statistics_batch_size: float | None) -> JointBatch:
    """Exchange counts and statistics of ``x`` (N, C, ...) with the other ranks; each must call it, also where N is 0.

    Raises:
        UsageError: the ranks have different statistics batch sizes (raised on each; they would wait for each other later).
    """
    dtype = statistics_dtype(x)
    head = [x.shape[0] if x.numel() else 0, math.prod(x.shape[2:]), statistics_batch_size or 0]
    own = batch_statistics(x)[:2] if x.numel() else torch.zeros(2, x.shape[1], device=x.device)
    # In float64 counts are exact, and what is merged is as good as the statistics of one process.
    gathered = gather_rows(torch.cat([x.new_tensor(head, dtype=torch.float64), *own]), group)
    heads: list[list[float]] = gathered[:, :3].tolist()
    check_batch_sizes([M for *_, M in heads])
    samples, pixels = [int(head[0]) for head in heads], [int(head[1]) for head in heads]
    values = [count * each for count, each in zip(samples, pixels, strict=True)]
    rows = gathered[:, 3:].view(len(heads), 2, -1)
    mean, variance = merged(values, rows).to(dtype) if any(values) else rows[0].to(dtype)
    statistics = BatchStatistics(mean, variance, sum(values))
    return JointBatch(group, dist.get_rank(group), samples, pixels, rows, statistics)


def check_batch_sizes(sizes: Sequence[float]) -> None:
    """Raise UsageError unless the statistics batch sizes of the ranks, 0 for None, are the same."""
    if len(set(sizes)) > 1:
        shown = [f"{M:g}" if M else "None" for M in sizes]
        raise UsageError(f"the ranks have statistics batch sizes {', '.join(shown)} in one layer; set the same on each")


def merged(values: Sequence[int], rows: Tensor) -> Tensor:
    """Return mean and biased variance of samples together, (2, C), from those of their pieces, (pieces, 2, C), and the counts.

    The pairwise update (Chan, Golub and LeVeque 1983), for any number of pieces at once.
    """
    share = rows.new_tensor(values).unsqueeze(1) / sum(values)
    mean = (share * rows[:, 0]).sum(0)
    return torch.stack([mean, (share * (rows[:, 1] + (rows[:, 0] - mean).square())).sum(0)])


def gather_rows(row: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Return the rows of all ranks, (ranks, length), from this one's, (length,)."""
    gathered = row.new_empty(dist.get_world_size(group), len(row))
    dist.all_gather(list(gathered.unbind(0)), row, group=group)
    return gathered
