"""What every peer's model must stand: conversion, training at another M, and the way back."""

import copy
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conversion_cases import assert_same, snapshot
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnlens

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


def assert_converts(model: nn.Module, x: Tensor, output: Callable[[Any], Tensor] = lambda y: y) -> None:
    """Evaluation bit for bit, training at the batch at hand to rounding, M = 4 in every layer, and no trace afterwards."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    classes = [type(layer) for layer in layers]
    model.eval()
    expected = output(model(x))
    before = snapshot(model)
    bnlens.convert(model, statistics_batch_size=4)
    assert all(isinstance(layer, cls) for layer, cls in zip(layers, classes, strict=True))
    assert torch.equal(output(model(x)), expected)
    bnlens.revert(model)
    assert_same(snapshot(model), before)

    twin = copy.deepcopy(model).train()
    bnlens.convert(model.train())
    torch.manual_seed(0)
    y = output(model(x))
    torch.manual_seed(0)
    torch.testing.assert_close(y, output(twin(x)), rtol=1e-4, atol=1e-4)
    for tensor, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-4, atol=1e-4)

    assert bnlens.set_statistics_batch_size(model, 4) == len(layers)
    y = output(model(x))
    y.square().mean().backward()
    assert not torch.allclose(y, output(twin(x)), rtol=1e-2)
    assert all(parameter.grad is not None for layer in layers for parameter in layer.parameters(recurse=False))
    bnlens.revert(model)
    assert [type(layer) for layer in layers] == classes
