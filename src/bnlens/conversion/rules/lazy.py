"""Lazy BN layers: after their first batch they are plain ones, before it they do not know their number of channels."""

from __future__ import annotations

from typing import Any

from torch import nn

from bnlens.conversion._registry import Rule, register
from bnlens.errors import NotYetConvertibleError


def _check(path: str, layer: Any, statistics_batch_size: float | None) -> None:
    raise NotYetConvertibleError(
        f"layer {path!r} ({type(layer).__name__}) does not know its number of channels yet; run one batch through the model, "
        "then convert it"
    )


for _kind in (nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d):
    register(Rule(_kind, check=_check))
