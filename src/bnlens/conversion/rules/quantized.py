"""Quantized BN layers: inference only, with integers in and out."""

from __future__ import annotations

from typing import Any

from bnlens.conversion._registry import Rule, register
from bnlens.errors import NotConvertibleError


def _check(path: str, layer: Any, statistics_batch_size: float | None) -> None:
    raise NotConvertibleError(
        f"layer {path!r} ({type(layer).__name__}) is quantized and has no training mode; convert the model before it is "
        "quantized, or leave the layer out by layers="
    )


for _kind in ("BatchNorm2d", "BatchNorm3d"):
    register(Rule(f"torch.ao.nn.quantized.modules.batchnorm.{_kind}", check=_check))
