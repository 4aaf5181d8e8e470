"""Batches of a loader as columns: one per leaf of their tree, checked to fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnlens.errors import DataError

__all__ = ["Layout", "Rows", "bytes_of", "concatenate", "put_rows", "rows_at", "slice_rows"]

Rows: TypeAlias = list[Any]
"""Samples by leaf: tensors and lists of strings (file names) have one entry per sample; all else is the same for all."""


class Layout:
    """The tree of a loader's batches (tuples, lists, mappings, in any nesting), as the first batch has it."""

    def __init__(self) -> None:
        self._spec: pytree.TreeSpec | None = None
        self._shapes: list[tuple[int, ...] | None] = []

    def rows(self, batch: Any) -> tuple[Rows, int]:
        """Return the samples of a batch, on the CPU as plain tensors, and how many they are.

        Raises:
            DataError: the batch holds no tensor, its tensors have different lengths, or it does not fit the first one.
        """
        leaves, spec = pytree.tree_flatten(_entered(batch), is_leaf=_is_names)
        length = _length(leaves)
        shapes = [tuple(leaf.shape[1:]) if isinstance(leaf, Tensor) and leaf.ndim else None for leaf in leaves]
        if self._spec is None:
            self._spec, self._shapes = spec, shapes
        if spec != self._spec:
            raise DataError("the loader's batches differ in structure; make every batch the same tuple or dict")
        if shapes != self._shapes:
            different = sorted({pair for pair in zip(self._shapes, shapes, strict=True) if pair[0] != pair[1]}, key=str)
            raise DataError(f"samples have different shapes {list(different[0])}; resize or pad them to one shape")
        return [_plain(leaf).detach().cpu() if isinstance(leaf, Tensor) else leaf for leaf in leaves], length

    def tree(self, rows: Rows, device: torch.device | None) -> Any:
        """Return samples as a batch of the loader's own structure, on ``device``; None leaves them where they are."""
        assert self._spec is not None  # noqa: S101 - the samples came from rows()
        moved = [leaf.to(device) if isinstance(leaf, Tensor) and device is not None else leaf for leaf in rows]
        return pytree.tree_unflatten(moved, self._spec)


def rows_at(rows: Rows, indices: Tensor) -> Rows:
    """Return copies of the samples at ``indices``, (N,)."""
    return [_at(leaf, indices) for leaf in rows]


def slice_rows(tree: Any, rows: slice) -> Any:
    """Return some samples of a batch, in its own structure."""

    def part(leaf: Any) -> Any:
        return leaf[rows] if _is_names(leaf) or (isinstance(leaf, Tensor) and leaf.ndim) else leaf

    return pytree.tree_map(part, tree, is_leaf=_is_names)


def put_rows(rows: Rows, indices: Tensor, fresh: Rows) -> None:
    """Overwrite the samples at ``indices``, (N,), by N others."""
    for leaf, new in zip(rows, fresh, strict=True):
        if isinstance(leaf, Tensor) and leaf.ndim:
            leaf[indices] = new
        elif _is_names(leaf):
            for index, name in zip(indices.tolist(), new, strict=True):
                leaf[index] = name


def concatenate(parts: list[Rows]) -> Rows:
    """Return the samples of all parts, one after the other."""
    return [_joined(list(column)) for column in zip(*parts, strict=True)]


def bytes_of(rows: Rows) -> int:
    """Return the bytes of all tensors."""
    return sum(leaf.numel() * leaf.element_size() for leaf in rows if isinstance(leaf, Tensor))


def _entered(tree: Any) -> Any:
    """Return a batch with dicts for mappings that pytree does not enter, a UserDict or what is derived from it."""

    def entered(leaf: Any) -> Any:
        return {name: _entered(value) for name, value in leaf.items()} if isinstance(leaf, Mapping) else leaf

    return pytree.tree_map(entered, tree)


def _plain(leaf: Tensor) -> Tensor:
    """Return a tensor without what a subclass keeps of its batch beside the numbers, as monai's MetaTensor does."""
    has_numbers = type(leaf).__torch_dispatch__ is Tensor.__torch_dispatch__
    return leaf.as_subclass(Tensor) if has_numbers else leaf


def _length(leaves: list[Any]) -> int:
    lengths = {len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim}
    if not lengths:
        raise DataError("a batch of the loader holds no tensor; yield tensors, such as (inputs, targets)")
    lengths |= {len(leaf) for leaf in leaves if _is_names(leaf)}
    if len(lengths) > 1:
        raise DataError(
            f"the tensors of a batch have different lengths {sorted(lengths)}; dimension 0 must be the sample"
        )
    return lengths.pop()


def _is_names(leaf: Any) -> bool:
    return isinstance(leaf, list | tuple) and bool(leaf) and all(isinstance(item, str) for item in leaf)


def _at(leaf: Any, indices: Tensor) -> Any:
    if isinstance(leaf, Tensor) and leaf.ndim:
        return leaf[indices]
    return [leaf[i] for i in indices.tolist()] if _is_names(leaf) else leaf


def _joined(column: list[Any]) -> Any:
    if _is_names(column[0]):
        return [name for part in column for name in part]
    if not isinstance(column[0], Tensor) or column[0].ndim == 0:
        return column[0]
    return torch.cat(column)
