"""``torch.nn.SyncBatchNorm``: takes inputs of any dimension, and statistics over ranks."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn

from bnlens.conversion._registry import Rule, register
from bnlens.errors import NotYetConvertibleError
from bnlens.nn import DialBatchNorm

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(DialBatchNorm, nn.SyncBatchNorm):
    """What a ``SyncBatchNorm`` becomes: statistics of M samples from this rank's batches, for inputs of any dimension.

    It remembers the process group, so that `bnlens.revert` gives the layer back as it was.
    """


def _check(path: str, layer: nn.SyncBatchNorm, statistics_batch_size: float | None) -> None:
    if statistics_batch_size is None and dist.is_available() and dist.is_initialized():
        ranks = dist.get_world_size(layer.process_group)
        if ranks > 1:
            raise NotYetConvertibleError(
                f"layer {path!r} ({type(layer).__name__}) takes statistics over {ranks} ranks, which a converted layer would "
                "not; give statistics_batch_size= the number of samples on all ranks together"
            )


register(Rule(nn.SyncBatchNorm, layer_class=SyncBatchNorm, check=_check))
