"""Conversion of the BN layers of any model into layers of `bnlens.nn`, and back; rules for further kinds of layers."""

from bnlens.conversion._convert import convert as convert
from bnlens.conversion._convert import revert as revert
from bnlens.conversion._registry import register_rule as register_rule
from bnlens.conversion._registry import unregister_rule as unregister_rule

__all__ = ["convert", "register_rule", "revert", "unregister_rule"]
