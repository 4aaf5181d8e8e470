"""Groups on a CPU where channels are last in memory, as in (N, C) and in channels-last order, or pixels are few.

``x`` is (N, C, ...), contiguous or with its channels last in memory, in float32 or float64. ``sizes`` are those of groups that
follow each other in the order of the batch, and values per group and channel are (k, C). For sums, a large group is one call of
a kernel of batch normalization, and small ones are a few operations on many at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bnlens.nn._groups import equal_groups

__all__ = ["affine_by_groups", "are_large", "group_gradients", "group_moments", "two_term_by_groups"]

_LARGE_GROUP = 1 << 15  # values
_VALUES_AT_ONCE = 1 << 19  # 2 MiB in float32, which stay in the cache from one operation to the next
_LEAST_PIXELS = 8  # below, the kernels of batch normalization are slow in NCHW order


def group_moments(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance of each group, (k, C) each."""
    found = []
    if are_large(x, sizes):
        for (part,) in _by_group(sizes, x):
            found.append(torch.batch_norm_update_stats(part, None, None, 1.0))
        join = torch.stack
    else:
        for (part,), _ in _in_cache(sizes, (_rows(x),), (), channels=-1, whole=True):
            mean = part.mean((1, 2), keepdim=True)
            found.append((mean, (part - mean).square_().mean((1, 2), keepdim=True)))
        join = torch.cat
    mean, variance = (join(tables).view(-1, x.shape[1]) for tables in zip(*found, strict=True))
    return mean, variance


def group_gradients(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sums over each group of ``grad`` times the normalised ``x``, and of ``grad``, (k, C) each."""
    found = []
    if are_large(x, sizes):
        for (part, g), mu, inverse in zip(_by_group(sizes, x, grad), mean, invstd, strict=True):
            _, *sums = torch.ops.aten.native_batch_norm_backward(
                g, part, None, None, None, mu, inverse, True, 0.0, [False, True, True]
            )
            found.append(sums)
        weighted, plain = (torch.stack(tables) for tables in zip(*found, strict=True))
        return weighted, plain
    for (part, g), (mu,) in _in_cache(sizes, (_rows(x), _rows(grad)), (mean,), channels=-1, whole=True):
        found.append([(part - mu).mul_(g).sum((1, 2)), g.sum((1, 2))])
    weighted, plain = (torch.cat(tables) for tables in zip(*found, strict=True))
    return weighted.mul_(invstd), plain


def affine_by_groups(x: Tensor, scale: Tensor, shift: Tensor, sizes: list[int]) -> Tensor:
    """Return ``scale * x + shift``, both (k, C), in the layout of ``x``."""
    y = torch.empty_like(x)
    for (part, out), (factor, term) in _in_cache(sizes, (x, y), (scale, shift)):
        torch.addcmul(term, part, factor, out=out)
    return y


def two_term_by_groups(
    x: Tensor, of_x: Tensor, grad: Tensor, of_grad: Tensor, shift: Tensor, sizes: list[int]
) -> Tensor:
    """Return ``of_x * x + of_grad * grad + shift``, these (k, C), in the layout of ``x``."""
    y = torch.empty_like(x)
    for (part, g, out), (first, second, term) in _in_cache(sizes, (x, grad, y), (of_x, of_grad, shift)):
        torch.addcmul(term, part, first, out=out).addcmul_(g, second)
    return y


def are_large(x: Tensor, sizes: list[int]) -> bool:
    """Return whether a call for each group takes little of the time."""
    return x.numel() >= _LARGE_GROUP * len(sizes)


def _by_group(sizes: list[int], *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the parts of the tensors, (N, C, ...), for each group, in the layout that suits the kernels: rows are (rows, C)."""
    x = tensors[0]
    pixels = x.numel() // (x.shape[0] * x.shape[1])
    if x.is_contiguous() and (pixels == 1 or pixels >= _LEAST_PIXELS):
        return zip(*(torch.split(tensor.contiguous(), sizes) for tensor in tensors), strict=True)
    rows = (_rows(tensor).view(-1, x.shape[1]) for tensor in tensors)
    return zip(*(torch.split(tensor, [pixels * size for size in sizes]) for tensor in rows), strict=True)


def _in_cache(
    sizes: list[int],
    tensors: tuple[Tensor, ...],
    tables: tuple[Tensor, ...],
    *,
    channels: int = 1,
    whole: bool = False,
) -> Iterator[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """Yield groups of one size that fit into the cache together, or a part of one that does not.

    Args:
        sizes: of the groups.
        tensors: (N, ...) of one shape; they come as (groups, samples, ...).
        tables: (k, C); they come in the shape that broadcasts to these.
        channels: the dimension of channels in the tensors.
        whole: yield a group that does not fit as a whole.
    """
    x = tensors[0]
    at_once = max(1, _VALUES_AT_ONCE * x.shape[0] // x.numel())
    shape = [1] * x.ndim
    shape[channels] = x.shape[channels]
    for groups, samples, size in equal_groups(sizes):
        k = groups.stop - groups.start
        parts = [tensor[samples].view(k, size, *x.shape[1:]) for tensor in tensors]
        rows = [table[groups].view(k, *shape) for table in tables]
        for together in zip(*(torch.split(each, max(1, at_once // size)) for each in [*parts, *rows]), strict=True):
            of_tensors, of_tables = together[: len(parts)], together[len(parts) :]
            if whole or size <= at_once:
                yield of_tensors, of_tables
                continue
            for pieces in zip(*(torch.split(each, at_once, 1) for each in of_tensors), strict=True):
                yield pieces, of_tables


def _rows(x: Tensor) -> Tensor:
    """Return ``x`` as (N, pixels, C), contiguous: a view where its channels are last in memory."""
    return x.movedim(1, -1).contiguous().view(x.shape[0], -1, x.shape[1])
