"""Tools of other people that look at a layer's exact class, or rebuild it as another library's: told of ours, or stopped."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.errors import NotYetConvertibleError

__all__ = ["LEAF", "introduce", "refuse_script", "warn_of_conversion"]

LEAF = "torch.nn"
"""The ``__module__`` of a layer object: torch.fx keeps layers of torch.nn whole. The class has ours, for pickling."""

_FUSED: set[type] = set()  # classes that torch's eager fusion has been told of


def introduce(cls: type, *, plain: bool) -> None:
    """Tell tools that find layers by their exact class, where they are imported, how to treat layers of class ``cls``.

    Opacus then finds the layer, and replaces it as it does torch's. Torch's eager fusion folds it in eval mode.

    Args:
        cls: a class of layers that derives from torch's and ours.
        plain: whether its layers normalise and do nothing else, so that a tool may replace them by what it has for torch's.
    """
    if torch.compiler.is_compiling():
        return
    if (validators := sys.modules.get("opacus.validators.module_validator")) is not None:
        for table, known in (
            (validators.ModuleValidator.VALIDATORS, True),
            (validators.ModuleValidator.FIXERS, plain),
        ):
            if cls not in table and (method := next((table[base] for base in cls.__mro__ if base in table), None)):
                table[cls] = method if known else _refuse_fix
    if plain and cls not in _FUSED and (fusers := sys.modules.get("torch.ao.quantization.fuser_method_mappings")):
        _FUSED.add(cls)
        methods = getattr(fusers, "_DEFAULT_OP_LIST_TO_FUSER_METHOD", {})
        torchs = next((base for base in cls.__mro__ if base in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)), None)
        for kinds, method in list(methods.items()):
            if torchs in kinds:
                methods[tuple(cls if kind is torchs else kind for kind in kinds)] = partial(_fuse, method)


def _refuse_fix(layer: nn.Module, **_: Any) -> nn.Module:
    raise NotYetConvertibleError(
        f"a {type(layer).__name__} does more than normalise, which Opacus' fix() would drop; "
        "put a layer without batch statistics in its place yourself"
    )


def _fuse(method: Callable[..., nn.Module], for_training: bool, first: nn.Module, *others: nn.Module) -> nn.Module:
    if for_training or isinstance(first, _BatchNorm):
        raise NotYetConvertibleError(
            "torch's fused layers have no statistics batch size and take none but torch's own BN layers; revert the model "
            "first (bnlens.revert), then fuse it"
        )
    return method(for_training, first, *others)


def warn_of_conversion(lost: str) -> None:
    """Warn if ``convert_sync_batchnorm``, of torch or timm, is what asks a layer for its children; name what is ``lost``.

    It makes another layer and asks ours for nothing but its arguments, tensors and children.
    """
    if lost and not torch.compiler.is_compiling() and sys._getframe(2).f_code.co_name == "convert_sync_batchnorm":
        warnings.warn(
            f"convert_sync_batchnorm makes a layer without {lost}; leave it out (sync_batchnorm=False in Lightning) and call "
            "bnlens.set_statistics_batch_size(model, M, sync=True), which takes statistics over ranks and keeps the rest",
            UserWarning,
            stacklevel=4,
        )


def refuse_script() -> None:
    """Raise NotYetConvertibleError, with what to do instead of compiling a layer by ``torch.jit.script``."""
    raise NotYetConvertibleError(
        "torch.jit.script cannot compile bnlens layers; script a copy with torch's, "
        "bnlens.revert(copy.deepcopy(model)), or use torch.jit.trace or torch.export"
    )
