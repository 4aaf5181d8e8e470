"""bnlens measures how much batch normalization regularises a network and predicts it at another batch size.

Public names resolve on first use, so ``import bnlens`` and ``bnlens.theory`` work without importing torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlens import claims as claims
    from bnlens import conversion as conversion
    from bnlens import errors as errors
    from bnlens import integrations as integrations
    from bnlens import measure as measure
    from bnlens import moments as moments
    from bnlens import nn as nn
    from bnlens import paper as paper
    from bnlens import simulate as simulate
    from bnlens import theory as theory
    from bnlens import train as train
    from bnlens.citing import cite as cite
    from bnlens.conversion import convert as convert
    from bnlens.conversion import revert as revert
    from bnlens.errors import BnlensError as BnlensError
    from bnlens.measure import Report as Report
    from bnlens.measure import dead_channels as dead_channels
    from bnlens.measure import merge_statistics as merge_statistics
    from bnlens.measure import recalibrate as recalibrate
    from bnlens.measure import report as report
    from bnlens.nn import add_streams as add_streams
    from bnlens.nn import freeze as freeze
    from bnlens.nn import groups as groups
    from bnlens.nn import load_window_state as load_window_state
    from bnlens.nn import masked as masked
    from bnlens.nn import set_statistics_batch_size as set_statistics_batch_size
    from bnlens.nn import shared_statistics as shared_statistics
    from bnlens.nn import stream as stream
    from bnlens.nn import unfreeze as unfreeze
    from bnlens.nn import untracked as untracked
    from bnlens.nn import window_state as window_state

_SUBMODULES = (
    "claims",
    "conversion",
    "errors",
    "integrations",
    "measure",
    "moments",
    "nn",
    "paper",
    "simulate",
    "theory",
    "train",
)
_NAMES = {
    "BnlensError": "errors",
    "Report": "measure",
    "add_streams": "nn",
    "cite": "citing",
    "convert": "conversion",
    "dead_channels": "measure",
    "freeze": "nn",
    "groups": "nn",
    "load_window_state": "nn",
    "masked": "nn",
    "merge_statistics": "measure",
    "recalibrate": "measure",
    "report": "measure",
    "revert": "conversion",
    "set_statistics_batch_size": "nn",
    "shared_statistics": "nn",
    "stream": "nn",
    "unfreeze": "nn",
    "untracked": "nn",
    "window_state": "nn",
}

__all__ = [
    "BnlensError",
    "Report",
    "__version__",
    "add_streams",
    "cite",
    "convert",
    "dead_channels",
    "freeze",
    "groups",
    "load_window_state",
    "masked",
    "merge_statistics",
    "recalibrate",
    "report",
    "revert",
    "set_statistics_batch_size",
    "shared_statistics",
    "stream",
    "unfreeze",
    "untracked",
    "window_state",
    *_SUBMODULES,
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version("bnlens")
    if name in _SUBMODULES:
        return importlib.import_module(f"bnlens.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"bnlens.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bnlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
