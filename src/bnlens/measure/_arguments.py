"""The arguments of `bnlens.report`, checked before any work."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from bnlens._names import did_you_mean
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.measure._intercept import batch_norm_layers, unwrap

_NAMES = "the names are those of model.named_modules()"

__all__ = [
    "at_least",
    "check_alone",
    "check_loader",
    "check_model",
    "check_sizes",
    "default_source",
    "placed",
    "positive",
]


def check_model(model: Any) -> tuple[nn.Module, dict[str, _BatchNorm]]:
    """Return the module inside its wrappers, and its BN layers by name."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"model is of type {type(model).__name__}; give a torch.nn.Module")
    model = unwrap(model)
    layers = batch_norm_layers(model)
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no BN layer, so it has no gap; give a model with BatchNorm1d, 2d or 3d layers or "
            "subclasses of them, before they are fused into convolutions"
        )
    if any(is_lazy(parameter) for parameter in (*model.parameters(), *model.buffers())):
        raise ModelError(f"{type(model).__name__} has lazy modules that never ran; run it on one batch first")
    return model, layers


def check_loader(loader: Any) -> None:
    """Raise DataError unless ``loader`` can be iterated."""
    if not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
        raise DataError(
            f"loader is of type {type(loader).__name__}; give one that yields batches, such as a DataLoader"
        )


def check_sizes(sizes: int | Sequence[int], source: int | None) -> tuple[tuple[int, ...], int | None]:
    """Return the M to measure at in ascending order, and M0 if it is given."""
    given = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
    if not given:
        raise UsageError("statistics_batch_size is empty; give at least one M")
    chosen = tuple(sorted({at_least("statistics_batch_size", size, 2) for size in given}))
    if source is None:
        return chosen, None
    if at_least("prediction_batch_size", source, 2) in chosen:
        raise UsageError(
            f"prediction_batch_size {source} is also measured; choose another, so that the prediction is one"
        )
    return chosen, int(source)


def default_source(sizes: tuple[int, ...], samples: int) -> int:
    """Return M0 where the user gives none: between the measured M, or twice (half, if samples are few) a single one."""
    smallest, largest = sizes[0], sizes[-1]
    if smallest < largest:
        source = round(math.sqrt(smallest * largest))
    else:
        source = 2 * smallest if 4 * smallest <= samples or smallest < 4 else smallest // 2
    while source in sizes:
        source += 1
    return source


def check_alone(alone: bool | Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the calls whose gaps alone are asked for; a layer's name stands for all its calls."""
    if isinstance(alone, bool):
        return tuple(names) if alone else ()
    asked = [alone] if isinstance(alone, str) else list(alone)
    for name in asked:
        if name not in names:
            raise UsageError(
                f"alone names {name!r}, which is no BN layer that runs; {did_you_mean(str(name), names, _NAMES)}"
            )
    return tuple(name for name in names if name in asked or name.partition("#")[0] in asked)


def at_least(name: str, value: Any, least: int) -> int:
    """Return the value as an int; NumPy's integers count as such."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} is {value!r}; it must be an integer of at least {least}")
    return int(value)


def positive(name: str, value: Any) -> float:
    """Return a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, Real) or not (0 < float(value) < math.inf):
        raise UsageError(f"{name} is {value!r}; it must be a number above 0")
    return float(value)


def placed(model: nn.Module, device: Any) -> nn.Module:
    """Return the model, or a copy of it on another device: the one that was given stays where it is.

    Raises:
        UsageError: there is no such device.
        ModelError: the model cannot be copied.
    """
    if device is None:
        return model
    try:
        target = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device!r} cannot be used ({reason}); give one such as 'cpu' or 'cuda:0'") from error
    if all(tensor.device == target for tensor in (*model.parameters(), *model.buffers())):
        return model
    try:
        return copy.deepcopy(model).to(target)
    except Exception as error:  # the model's own code may raise anything
        raise ModelError(
            f"{type(model).__name__} cannot be copied to {target} ({type(error).__name__}: {error}); move it there and leave "
            "device out"
        ) from error
