"""Sums of all ranks of a torch.distributed job merged into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import reduce

import torch
import torch.distributed as dist
from torch import Tensor

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.moments._sums import AnySums, Sums

__all__ = ["all_merge"]


@checked
def all_merge(
    sums: AnySums, merge: Callable[[AnySums, AnySums], AnySums], group: dist.ProcessGroup | int | None = None
) -> AnySums:
    """Gather the sums of every rank and merge them in rank order; each rank must call it.

    Every rank gets bit for bit the same result, with any counts, ranks without a sample included.

    Args:
        sums: the sums of this rank; they are not changed, so a second call counts nothing twice.
        merge: :func:`merge_moments` or :func:`merge_cross`.
        group: the process group, by default the main one. Under NCCL the exchange goes through the current GPU.

    Returns:
        The sums over the samples of all ranks, on the device of ``sums``.

    Raises:
        UsageError: there is no initialised process group, this rank is not in ``group``, or the ranks keep sums
            over different numbers of channels (raised on every rank).
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError(
            "there is no process group to merge the sums over; call torch.distributed.init_process_group first"
        )
    if isinstance(group, int) or dist.get_rank(group) < 0:  # an int is what torch calls a group of others
        raise UsageError("this rank is not a member of the group; call all_merge on the ranks of the group only")
    home = sums.mean.device
    wire = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else home
    widths = [int(width) for width in _gather(torch.tensor([sums.num_features], device=wire), group)]
    if len(set(widths)) > 1:
        raise UsageError(f"the ranks keep sums over {widths} channels; give each rank the same num_features")
    gathered = _gather(_pack(sums).to(wire), group)
    return reduce(merge, [_unpack(flat.to(home), sums) for flat in gathered])


def _gather(tensor: Tensor, group: dist.ProcessGroup | None) -> list[Tensor]:
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, tensor, group=group)
    return gathered


def _pack(sums: Sums) -> Tensor:
    """Return all fields in one float64 vector; counts are exact in it up to 2^53."""
    return torch.cat([getattr(sums, field.name).reshape(-1).double() for field in fields(sums)])


def _unpack(flat: Tensor, like: AnySums) -> AnySums:
    tensors: list[Tensor] = [getattr(like, field.name) for field in fields(like)]
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return type(like)(*(part.view(t.shape).to(t.dtype) for part, t in zip(parts, tensors, strict=True)))
