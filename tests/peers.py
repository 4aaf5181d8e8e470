"""Packages of other people whose models are tested; all are in the extra [peers]."""

import importlib
import importlib.util
import sys
import warnings
from typing import Any

import pytest
import torch

_LIBRARIES: list[torch.library.Library] = []


def peer(name: str) -> Any:
    """Import a module of a peer, or skip the test file if the package is not installed; a broken one is an error."""
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; it is in the extra [peers]", allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's imports
        return importlib.import_module(name)


def define_torchvision_operators() -> None:
    """Make a torchvision that was built for another torch importable: define the operators that its import looks for.

    None of them is called, so one signature serves all.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        _LIBRARIES.append(library)  # definitions go with their library
