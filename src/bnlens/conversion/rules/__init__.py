"""The rules that bnlens brings, one file per kind of layer; importing this package registers them."""

from bnlens.conversion.rules import lazy as lazy
from bnlens.conversion.rules import plain as plain
from bnlens.conversion.rules import quantized as quantized
from bnlens.conversion.rules import sync as sync
from bnlens.conversion.rules import timm as timm

__all__ = ["lazy", "plain", "quantized", "sync", "timm"]
