"""Forward passes that activation checkpointing runs again in the backward pass: each finds the window of its first run."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import checkpoint
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from bnlens.errors import UsageError
from bnlens.nn._statistics import BatchStatistics

__all__ = ["Passes", "in_backward", "in_export", "is_checkpointed", "unrecorded"]

_WITHOUT_GRAPH = 16
_SAME = 1e-2  # standard deviations; rounding is far below, and another batch far above


def in_backward() -> bool:
    """Return whether activation checkpointing runs this forward pass again, whose statistics are in already."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def in_export() -> bool:
    """Return whether `torch.export` traces."""
    return bool(getattr(torch.compiler, "is_exporting", bool)())  # from torch 2.7 on


def is_checkpointed() -> bool:
    """Return whether what runs now will run again, or does, in a backward pass; a compiler takes the answer for a constant."""
    return (
        torch._C._autograd._top_saved_tensors_default_hooks(True) is not None or torch._C._current_graph_task_id() != -1
    )


# as torch.compiler.assume_constant_result does, which would import the compiler
is_checkpointed._dynamo_marked_constant = True  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class _Pass:
    """A forward pass: the statistics of its batch, the window with that in it, and the autograd nodes made before."""

    batch: BatchStatistics
    window: Tensor
    nodes: int


def unrecorded() -> AbstractContextManager[Any]:
    """Enter a context whose operations selective checkpointing does not count, since they differ in the second run."""
    if torch.compiler.is_compiling() or not torch._C._len_torch_dispatch_stack():
        return nullcontext()
    kinds = checkpoint._CachingTorchDispatchMode, checkpoint._CachedTorchDispatchMode
    selective = any(isinstance(mode, kinds) for mode in _get_current_dispatch_mode_stack())
    return _disable_current_modes() if selective else nullcontext()


class Passes:
    """The forward passes of one layer that may be run again.

    One lives as long as the graph that it is part of. Checkpoints with ``use_reentrant=True`` run without a graph first; of
    such passes the last 16 are kept until they are run again.
    """

    def __init__(self) -> None:
        self._in_graphs: list[weakref.ref[_Pass]] = []
        self._without: deque[_Pass] = deque(maxlen=_WITHOUT_GRAPH)
        self._used: set[_Pass] = set()

    def add(self, y: Tensor, batch: BatchStatistics, window: Tensor) -> None:
        """Note a forward pass, with its output."""
        if torch._C._functorch.peek_interpreter_stack() is not None:  # values of a transform end with it
            return
        new = _Pass(batch, window, torch._C._autograd._get_sequence_nr())
        self._in_graphs = [ref for ref in self._in_graphs if ref() is not None]
        if y.grad_fn is None:
            self._without = deque((old for old in self._without if old not in self._used), maxlen=_WITHOUT_GRAPH)
            self._used.clear()
            self._without.append(new)
        else:
            metadata: Any = y.grad_fn.metadata
            metadata["bnlens"] = new  # which hence lives as long as the node of the graph
            self._in_graphs.append(weakref.ref(new))

    def find(self, batch: BatchStatistics, eps: float) -> Tensor | None:
        """Return the window of the forward pass that now runs again; None where the layer has run none.

        Raises:
            UsageError: none of those that are kept had this batch.
        """
        passes = [*(kept for ref in self._in_graphs if (kept := ref()) is not None), *self._without]
        if not passes:
            return None
        with unrecorded():
            found = passes[0] if len(passes) == 1 else _nearest(passes, batch, eps)
        if found in self._without:
            self._used.add(found)
        return found.window

    def check(self) -> None:
        """Raise UsageError where a pass runs again whose first run was compiled, and hence not noted."""
        if in_backward() and not self._without and not any(ref() is not None for ref in self._in_graphs):
            raise UsageError(
                "a reentrant activation checkpoint runs a compiled layer with a window again, and there is no note of its "
                "first run; use checkpoint(..., use_reentrant=False)"
            )

    def __deepcopy__(self, memo: Any) -> Passes:
        """A copy of the layer has run none."""
        return Passes()

    def __reduce__(self) -> tuple[Any, ...]:
        """Nor has one that is loaded."""
        return Passes, ()


def _nearest(passes: list[_Pass], batch: BatchStatistics, eps: float) -> _Pass:
    scale = batch.variance + eps
    shift = torch.stack([kept.batch.mean for kept in passes]).sub(batch.mean).abs() / scale.sqrt()
    spread = torch.stack([kept.batch.variance for kept in passes]).sub(batch.variance).abs() / scale
    away = torch.maximum(shift, spread).amax(1).nan_to_num(nan=float("inf")).tolist()
    nearest = min(away)
    if _SAME < nearest < float("inf"):  # where the batch is not finite, the gradient is not either
        raise UsageError(
            f"activation checkpointing runs a forward pass again that is none of the {len(passes)} whose windows the layer has "
            "kept; use checkpoint(..., use_reentrant=False), or set statistics_batch_size=None"
        )
    same = [kept for kept, distance in zip(passes, away, strict=True) if distance == nearest]
    if len(same) == 1:
        return same[0]
    # Of passes with one and the same batch, the node whose backward pass asks for it tells: it was made in that checkpoint.
    node = torch._C._current_autograd_node()
    if node is not None:
        number = node._sequence_nr()
        if node.name() == "CheckpointFunctionBackward":  # reentrant: made before the layer ran
            if after := [kept for kept in same if kept.nodes > number]:
                return min(after, key=lambda kept: kept.nodes)
        elif before := [kept for kept in same if kept.nodes <= number + 1]:
            return max(before, key=lambda kept: kept.nodes)
    raise UsageError(
        f"activation checkpointing runs one of {len(same)} forward passes with the same batch again, and nothing tells which; "
        "use checkpoint(..., use_reentrant=False)"
    )
