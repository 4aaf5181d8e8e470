"""The rules that bnlens brings, one file per kind of layer; importing this package registers them."""

from bnlens.conversion.rules import lazy, plain, quantized, sync, timm

__all__ = ["lazy", "plain", "quantized", "sync", "timm"]
