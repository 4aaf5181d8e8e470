"""timm's BN with drop and activation, whose forward has the normalisation written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bnlens.conversion._registry import Rule, register


def _forward(layer: Any, normalise: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    return layer.act(layer.drop(normalise(x)))


for _module in ("timm.layers.norm_act", "timm.models.layers.norm_act"):  # from 0.9 on, and before
    register(Rule(f"{_module}.BatchNormAct2d", forward=_forward))
