"""Torch's BN layers, and direct subclasses of their common base."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.conversion._registry import Rule, register
from bnlens.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, DialBatchNorm

register(Rule(nn.BatchNorm1d, layer_class=BatchNorm1d))
register(Rule(nn.BatchNorm2d, layer_class=BatchNorm2d))
register(Rule(nn.BatchNorm3d, layer_class=BatchNorm3d))
register(Rule(_BatchNorm, layer_class=DialBatchNorm))
