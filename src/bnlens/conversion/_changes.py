"""Changes to layers, models and optimizers, each with its undoing noted before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

import bnlens.nn
from bnlens.errors import NotConvertibleError
from bnlens.nn import DialBatchNorm

__all__ = ["added_names", "change_class", "names_of_ours", "new_state", "replace_module", "swap_parameters"]

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)
_WATCHING = {"_converted_path", "_normalised"}


@cache
def added_names() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the attributes and of the buffers that an instance of our layers has and one of torch's has not."""
    ours, torchs = bnlens.nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    attributes = frozenset(vars(ours)) - frozenset(vars(torchs))
    return attributes, frozenset(ours._buffers) - frozenset(torchs._buffers)


def names_of_ours() -> frozenset[str]:
    """Return all names that our layers use and torch's do not: attributes, buffers and methods, but for what Python calls."""
    attributes, buffers = added_names()
    names = (attributes | buffers | set(vars(DialBatchNorm))) - set(dir(_BatchNorm))
    return frozenset(name for name in names if not name.startswith("__"))


def new_state(
    layer: _BatchNorm, statistics_batch_size: float | None, sync: bool | dist.ProcessGroup, device: torch.device
) -> DialBatchNorm:
    """Return a layer of ours whose added attributes and buffers suit ``layer``: channels, device, dtype and mode.

    Raises:
        UsageError: ``statistics_batch_size`` or ``sync`` cannot be used.
    """
    like = next((tensor for tensor in (layer.weight, layer.running_mean) if tensor is not None), None)
    with torch.inference_mode(False):  # or the window could not be updated outside it
        state = bnlens.nn.BatchNorm1d(
            layer.num_features,
            affine=False,
            track_running_stats=False,
            device=device if like is None else like.device,
            dtype=None if like is None else like.dtype,
            statistics_batch_size=statistics_batch_size,
            sync=sync,
        )
    state.train(layer.training)
    return state


def change_class(
    layer: _BatchNorm, cls: type[nn.Module], undo: ExitStack, *, state: DialBatchNorm | None, path: str
) -> None:
    """Give a layer another class; add what ``state`` has and torch's layers have not, or take that away where it is None.

    Everything else, parameters, buffers, hooks and attributes, stays the same objects.

    Raises:
        NotConvertibleError: Python does not let the layer's class be changed.
    """
    attributes, buffers = added_names()
    saved = dict(vars(layer)), dict(layer._buffers), set(layer._non_persistent_buffers_set)
    undo.callback(_restore, layer, type(layer), *saved)
    try:
        layer.__class__ = cls  # type: ignore[assignment]
    except TypeError as error:
        raise NotConvertibleError(
            f"layer {path!r} ({type(layer).__name__}) cannot take on another class, as classes with __slots__ cannot; "
            "leave it out by layers="
        ) from error
    if state is None:
        if (streams := layer._modules.pop("streams", None)) is not None:
            undo.callback(layer._modules.__setitem__, "streams", streams)
        for name in attributes | buffers | _WATCHING:
            vars(layer).pop(name, None)
            layer._buffers.pop(name, None)
            layer._non_persistent_buffers_set.discard(name)
        return
    # Which of the two the state is depends on whether there are ranks by now.
    names = attributes | buffers
    vars(layer).update({name: value for name, value in vars(state).items() if name in names}, _converted_path=path)
    layer._buffers.update({name: buffer for name, buffer in state._buffers.items() if name in names})
    layer._non_persistent_buffers_set.update(buffers)


def _restore(
    layer: nn.Module, cls: type, attributes: dict[str, Any], buffers: dict[str, Any], non_persistent: set[str]
) -> None:
    layer.__class__ = cls
    vars(layer).clear()
    vars(layer).update(attributes)
    for live, saved in ((layer._buffers, buffers), (layer._non_persistent_buffers_set, non_persistent)):
        live.clear()
        live.update(saved)  # type: ignore[arg-type]


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module, undo: ExitStack) -> None:
    """Put ``new`` in every place that ``old`` has in ``model``; it gets the mode and the hooks of ``old``."""
    new.train(old.training)
    vars(new).update({name: vars(old)[name] for name in _HOOKS})
    for parent in model.modules():
        for name, child in list(parent._modules.items()):
            if child is old:
                undo.callback(parent._modules.__setitem__, name, old)
                parent._modules[name] = new


def swap_parameters(optimizer: Optimizer, pairs: Mapping[nn.Parameter, nn.Parameter], undo: ExitStack) -> None:
    """Put new parameters in the places of old ones in an optimizer, state included; gradients move along."""
    saved_groups = [list(group["params"]) for group in optimizer.param_groups]
    saved_state = dict(optimizer.state)

    def restore() -> None:
        for group, parameters in zip(optimizer.param_groups, saved_groups, strict=True):
            group["params"] = parameters
        optimizer.state.clear()
        optimizer.state.update(saved_state)

    undo.callback(restore)
    for group in optimizer.param_groups:
        group["params"] = [pairs.get(parameter, parameter) for parameter in group["params"]]
    for old, new in pairs.items():
        if old in optimizer.state:
            optimizer.state[new] = optimizer.state.pop(old)
        new.grad = old.grad
