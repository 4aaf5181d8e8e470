"""``torch.nn.SyncBatchNorm``: takes inputs of any dimension, and statistics over ranks."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn

from bnlens.conversion._registry import Rule, register
from bnlens.nn import DialBatchNorm

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(DialBatchNorm, nn.SyncBatchNorm):
    """A converted ``SyncBatchNorm``: statistics of M samples over ranks, for inputs of any dimension and any device.

    With ``sync=True`` it takes them over the ranks of its ``process_group`` exactly when torch's does: where there is an
    initialised one with several ranks, else over this rank. `bnlens.revert` gives the layer back as it was.
    """

    def _sync_group(self) -> dist.ProcessGroup | None:
        if self.sync is not True:
            return super()._sync_group()
        if not (dist.is_available() and dist.is_initialized()):
            return None
        group = self.process_group or dist.group.WORLD
        return group if dist.get_world_size(group) > 1 else None


register(Rule(nn.SyncBatchNorm, layer_class=SyncBatchNorm))
