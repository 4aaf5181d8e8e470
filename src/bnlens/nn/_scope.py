"""The contexts that a layer's forward pass can be in: `shared_statistics` and its like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from bnlens.nn._shared import Shared

__all__ = ["Order", "Scope", "scoped"]

Order: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
"""From an input and its valid values, (N, 1, ...) or None for all, to the output."""


@dataclass(frozen=True)
class Scope:
    """The contexts that surround the forward passes of one layer, in the thread that entered them.

    It belongs to one layer object: a copy of the layer, also one that is pickled and loaded, is in no context.

    Attributes:
        shared: the statistics that micro-batches share; None outside `shared_statistics`.
        mask: gives the valid values of an input of the layer, (N, 1, ...), or None where all are; None outside `masked`.
        untracked: whether they leave the layer's state as it is.
        stream: whose statistics they use, see `bnlens.nn._streams`; None for the layer's own.
        order: runs the layer on an input and its valid values in another order; None outside `groups`.
        thread: that entered.
    """

    shared: Shared | None = None
    mask: Callable[[Tensor], Tensor | None] | None = None
    untracked: bool = False
    stream: str | None = None
    order: Order | None = None
    thread: int = field(default_factory=threading.get_ident)

    @property
    def holds(self) -> bool:
        """Whether this forward pass leaves the layer's state as it is."""
        return self.untracked and (torch.compiler.is_compiling() or self.is_here)

    @property
    def in_stream(self) -> bool:
        """Whether this forward pass is of a stream."""
        return self.stream is not None and (torch.compiler.is_compiling() or self.is_here)

    @property
    def is_here(self) -> bool:
        """Whether this forward pass is inside: of the same thread, or run again by a backward pass, in a thread of its own."""
        return self.thread == threading.get_ident() or torch._C._current_graph_task_id() != -1

    def __deepcopy__(self, memo: Any) -> None:
        """Copies are in no context."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Nor are layers that are loaded."""
        return type(None), ()


@contextmanager
def scoped(changes: Mapping[Any, Mapping[str, Any]]) -> Iterator[None]:
    """Within this context, give the scope of each bnlens layer the fields named here."""
    with ExitStack() as undo:
        for layer, fields in changes.items():
            before = layer._scope
            undo.callback(_leave, layer, before)
            layer._scope = replace(Scope() if before is None or not before.is_here else before, **fields)
        yield


def _leave(layer: Any, before: Scope | None) -> None:
    if "_scope" in vars(layer):  # `revert` may have made it another library's layer meanwhile
        layer._scope = before
