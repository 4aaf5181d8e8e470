"""A warning where the rows that a layer's groups are made of are not the samples that its model is given."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens._arguments import checked
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._graphs import is_tracing

__all__ = ["unwatch_rows", "watch_rows"]


@checked
def watch_rows(model: nn.Module) -> None:
    """Warn in the next training pass of a model if its ghost groups are of rows of which each sample has several.

    A layer cannot know: its input may be time steps, nodes or views of all samples, folded into dimension 0, where groups of M
    rows are of fewer samples. So the first tensor that the model is given is compared with the inputs of its layers, in one
    pass, and nothing is kept. Passes that are compiled, traced or exported are not looked at. :func:`bnlens.convert` and
    :func:`bnlens.set_statistics_batch_size` call it where they set M.

    Args:
        model: holds bnlens layers; one layer alone is not watched.
    """
    unwatch_rows(model)
    if not isinstance(model, DialBatchNorm):
        model.register_forward_pre_hook(_watch, with_kwargs=True)


@checked
def unwatch_rows(model: nn.Module) -> None:
    """Take `watch_rows` back."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
                del hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)


def _is_ours(hook: Any) -> bool:
    return hook in (_watch, _done) or (isinstance(hook, partial) and hook.func is _compare)


def _watch(model: nn.Module, args: Any, kwargs: Any) -> None:
    if not model.training or torch.compiler.is_compiling() or is_tracing():
        return
    tensors = (leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim)
    if (first := next(tensors, None)) is None:
        return
    watch_rows(model)  # without what a pass that failed has left
    model.register_forward_hook(_done)
    seen: list[str] = []
    for name, layer in model.named_modules():
        if isinstance(layer, DialBatchNorm):
            layer.register_forward_pre_hook(partial(_compare, name, len(first), seen))


def _done(model: nn.Module, args: Any, output: Any) -> None:
    unwatch_rows(model)


def _compare(name: str, samples: int, seen: list[str], layer: DialBatchNorm, args: Any) -> None:
    M, rows = layer.statistics_batch_size, len(args[0]) if args and isinstance(args[0], Tensor) else 0
    in_groups = layer._scope is not None and layer._scope.order is not None
    if seen or in_groups or not layer.training or M is None or rows <= M:
        return
    if 1 < samples < rows and rows % samples == 0:
        seen.append(name)
        each = rows // samples
        warnings.warn(
            f"layer {name!r} is given {rows} rows where the model is given {samples} samples, and its groups are of {M} rows: "
            f"if {each} rows are steps, nodes or views of one sample, train in bnlens.groups(model, samples_of={each}), "
            "where M counts samples",
            UserWarning,
            stacklevel=2,
        )
