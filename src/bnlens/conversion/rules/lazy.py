"""Lazy BN layers: after their first batch they are plain ones, before it they do not know their number of channels."""

from __future__ import annotations

from torch import nn

from bnlens.conversion._registry import Rule, register
from bnlens.errors import NotYetConvertibleError

_REASON = "does not know its number of channels yet; run one batch through the model, then convert it"

for _kind in (nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d):
    register(Rule(_kind, refusal=(NotYetConvertibleError, _REASON)))
