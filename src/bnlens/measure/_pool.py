"""The samples a report works on: drawn once from a loader, then regrouped at will."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnlens.errors import DataError

__all__ = ["SamplePool"]


class SamplePool:
    """Samples of a data loader, concatenated along dimension 0, in any nesting of tuples, lists and mappings.

    The pool is the *population* of a report: population statistics, groups and gaps all refer to it. Holding it in memory
    is what allows groups of any size, drawn without replacement and reshuffled, whatever batches the loader makes.

    Args:
        batch: a tree (tuples, lists, dicts) whose tensor leaves share dimension 0, as lists of strings do (file names);
            other leaves, tensors of dimension 0 among them, are kept as the first batch has them.
        size: P, the length of that dimension.
        batch_size: the largest batch that the loader made, which the model's device can be trusted to hold.
    """

    def __init__(self, batch: Any, size: int, batch_size: int) -> None:
        self._leaves, self._spec = pytree.tree_flatten(batch, is_leaf=_is_names)
        self.size, self.batch_size = size, batch_size

    @classmethod
    def from_loader(cls, loader: Iterable[Any], max_samples: int) -> SamplePool:
        """Read batches until ``max_samples`` samples are there or the loader ends.

        Raises:
            DataError: the loader is empty, a batch holds no tensor, or batches do not fit together.
        """
        columns: list[list[Any]] = []
        spec: pytree.TreeSpec | None = None
        size = largest = 0
        for batch in loader:
            tree = dict(batch) if isinstance(batch, Mapping) else batch  # a UserDict, say, which pytree does not enter
            leaves, this_spec = pytree.tree_flatten(tree, is_leaf=_is_names)
            if spec is None:
                spec, columns = this_spec, [[] for _ in leaves]
            if this_spec != spec:
                raise DataError("the loader's batches differ in structure; make every batch the same tuple or dict")
            length = _append(columns, leaves)
            size, largest = size + length, max(largest, length)
            if size >= max_samples:
                break
        if spec is None or size == 0:
            raise DataError("the loader is empty; give a loader that yields batches of samples")
        merged = [_concatenate(column) for column in columns]
        pool = cls(pytree.tree_unflatten(merged, spec), size, largest)
        return pool if size <= max_samples else cls(pool.take(torch.arange(max_samples)), max_samples, largest)

    def __len__(self) -> int:
        return self.size

    def take(self, indices: Tensor, device: torch.device | None = None) -> Any:
        """Return the samples at ``indices``, as one batch of the loader's own structure, on ``device``."""
        return pytree.tree_unflatten([_rows(leaf, indices, device) for leaf in self._leaves], self._spec)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield indices of all samples in order, in the fewest batches of at most ``batch_size``, equal to within one sample.

        A short last batch could be a single sample, and one sample has no batch statistics.
        """
        yield from torch.tensor_split(torch.arange(self.size), -(-self.size // batch_size))


def _append(columns: list[list[Any]], leaves: list[Any]) -> int:
    """Add one batch's leaves to the columns and return how many samples it held."""
    lengths = {len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim}
    if not lengths:
        raise DataError("a batch of the loader holds no tensor; yield tensors, such as (inputs, targets)")
    lengths |= {len(leaf) for leaf in leaves if _is_names(leaf)}
    if len(lengths) > 1:
        raise DataError(
            f"the tensors of a batch have different lengths {sorted(lengths)}; dimension 0 must be the sample"
        )
    for column, leaf in zip(columns, leaves, strict=True):
        column.append(leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf)
    return lengths.pop()


def _is_names(leaf: Any) -> bool:
    return isinstance(leaf, list | tuple) and bool(leaf) and all(isinstance(item, str) for item in leaf)


def _rows(leaf: Any, indices: Tensor, device: torch.device | None) -> Any:
    if isinstance(leaf, Tensor):
        return leaf[indices].to(device) if leaf.ndim else leaf.to(device)
    return [leaf[i] for i in indices.tolist()] if _is_names(leaf) else leaf


def _concatenate(column: list[Any]) -> Any:
    if _is_names(column[0]):
        return [name for part in column for name in part]
    if not isinstance(column[0], Tensor) or column[0].ndim == 0:
        return column[0]
    shapes = {tuple(part.shape[1:]) for part in column}
    if len(shapes) > 1:
        raise DataError(f"samples have different shapes {sorted(shapes)}; resize or pad them to one shape")
    return torch.cat(column)
