"""Conversion of the BN layers of any model into layers of `bnlens.nn`, and back; rules for further kinds of layers."""

from bnlens.conversion._convert import convert, revert
from bnlens.conversion._registry import register_rule, unregister_rule

__all__ = ["convert", "register_rule", "revert", "unregister_rule"]
