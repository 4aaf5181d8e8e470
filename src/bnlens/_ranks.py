"""The ranks of a torch.distributed job; a single process is one rank."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist

__all__ = ["gather", "world"]

T = TypeVar("T")


def world() -> tuple[int, int]:
    """Return this process's rank and the number of ranks: (0, 1) without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather(value: T) -> list[T]:
    """Return the values of all ranks in rank order; each rank must call it. Tensors in it must be on the CPU.

    Under NCCL the exchange goes through the current GPU, which each rank has to set.
    """
    ranks = world()[1]
    if ranks == 1:
        return [value]
    found: list[Any] = [None] * ranks
    dist.all_gather_object(found, value)
    return found
