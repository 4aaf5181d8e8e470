"""The state of a layer that is not in its state_dict: the window, and the count of batches that were not finite.

A layer has it once its other tensors are on a device. On the meta device there is none, so no loader can leave uninitialised
memory in it. In a job of several ranks it is an attribute and no buffer, because `DistributedDataParallel` would give every
rank the window of the first. ``layer`` is a `bnlens.nn.DialBatchNorm`, which uses this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnlens.nn._ranks import several_ranks
from bnlens.nn._recomputation import Passes
from bnlens.nn._window import empty_window

__all__ = ["at_least_float32", "carry", "is_settled", "put", "settle", "unpack"]

_NAMES = (
    "skipped_batches",
    "window",
)  # torch.export cannot name a buffer that follows one of None, which a window can be


def is_settled(layer: Any, dtype: torch.dtype) -> bool:
    """Return whether the state is there, where it belongs, and wide enough for an input of this dtype."""
    count: Tensor | None = layer.skipped_batches
    window: Tensor | None = layer.window
    if count is None or (window is None and layer._has_window()):
        return False
    if window is not None and _is_narrow(window, dtype):
        return False
    if not torch.compiler.is_compiling() and count.is_meta:
        return False
    return "skipped_batches" not in layer._buffers or not several_ranks()


def settle(layer: Any, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
    """Make the state that ``layer`` has not yet, empty, where its other tensors are, or else on ``device``.

    A window that inputs of ``dtype`` would be rounded in is made as wide as they are.
    """
    like = next((found for found in (layer.weight, layer.running_mean) if found is not None), None)
    for name in _NAMES:
        tensor: Tensor | None = getattr(layer, name, None)
        if name == "window" and not layer._has_window():
            continue
        if tensor is None or tensor.is_meta:
            place = device if like is None else like.device
            if place is None and layer.skipped_batches is not None:
                place = layer.skipped_batches.device
            if place is not None and (place.type != "meta" or device == place):
                put(layer, name, _empty(layer, name, place, dtype if like is None else like.dtype))
        elif name == "window" and dtype is not None and _is_narrow(tensor, dtype):
            put(layer, name, tensor.to(dtype))
        elif name in layer._buffers and several_ranks():
            put(layer, name, tensor)


def put(layer: Any, name: str, tensor: Tensor | None) -> None:
    """Make ``tensor`` the state of this name."""
    home, other = (layer._buffers, vars(layer))
    if several_ranks():
        home, other = other, home
    other.pop(name, None)
    home[name] = tensor


def carry(layer: Any, fn: Callable[[Tensor], Tensor]) -> None:
    """Take the state to where ``fn`` takes tensors; it is empty afterwards where these do not keep their values."""
    for name in _NAMES:
        tensor: Tensor | None = getattr(layer, name, None)
        if tensor is not None:
            put(layer, name, _carried(tensor, fn))
    settle(layer)


def unpack(layer: Any) -> None:
    """Complete a layer that was copied or loaded, also one that an earlier version saved; it is in no context."""
    for name in _NAMES:
        layer._non_persistent_buffers_set.add(name)
        put(layer, name, getattr(layer, name, None))
    layer._buffers.pop("responses", None)
    vars(layer).pop("_earlier_window", None)
    vars(layer).update(_passes=Passes(), _traced=None, _scope=None)
    vars(layer).setdefault("responses", {})
    settle(layer)


def _is_narrow(window: Tensor, dtype: torch.dtype) -> bool:
    return not torch.compiler.is_compiling() and torch.promote_types(window.dtype, dtype) != window.dtype


def at_least_float32(dtype: torch.dtype | None) -> torch.dtype:
    """Return float32, or ``dtype`` (by default torch's) where that is wider."""
    return torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)


def _empty(layer: Any, name: str, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    with torch.inference_mode(False):  # or it could not be updated outside it
        if name == "window":
            return empty_window(layer.num_features, device=device, dtype=at_least_float32(dtype))
        return torch.zeros((), dtype=torch.long, device=device)


def _carried(tensor: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor | None:
    moved = fn(tensor)
    if moved.is_meta:
        return None
    dtype: Any = at_least_float32(moved.dtype) if moved.is_floating_point() else moved.dtype
    # The subclass that stands for tensors without values, in tracing, cannot be compared.
    if type(moved) is Tensor and (tensor.is_meta or not torch.equal(moved, tensor.to(moved))):
        return torch.zeros_like(moved, dtype=dtype)  # to_empty
    return moved if moved.dtype == dtype else tensor.to(moved.device, dtype)
