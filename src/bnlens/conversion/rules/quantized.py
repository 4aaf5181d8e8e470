"""Quantized BN layers: inference only, with integers in and out."""

from __future__ import annotations

from bnlens.conversion._registry import Rule, register
from bnlens.errors import NotConvertibleError

_REASON = (
    "is quantized and has no training mode; convert the model before it is quantized, or leave the layer out by layers="
)

for _kind in ("BatchNorm2d", "BatchNorm3d"):
    register(Rule(f"torch.ao.nn.quantized.modules.batchnorm.{_kind}", refusal=(NotConvertibleError, _REASON)))
