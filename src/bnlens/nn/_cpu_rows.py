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
        for _, (part,) in _by_rows(sizes, x):
            mean = part.mean(1)
            found.append((mean, (part - mean.unsqueeze(1)).square_().mean(1)))
        join = torch.cat
    mean, variance = (join(tables) for tables in zip(*found, strict=True))
    return mean, variance


def group_gradients(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sums over each group of ``grad`` times the normalised ``x``, and of ``grad``, (k, C) each."""
    found = []
    if are_large(x, sizes):
        ones = torch.ones_like(mean[0])  # its type is that of the sums
        for (part, g), mu, inverse in zip(_by_group(sizes, x, grad), mean, invstd, strict=True):
            _, *sums = torch.ops.aten.native_batch_norm_backward(
                g, part, ones, None, None, mu, inverse, True, 0.0, [False, True, True]
            )
            found.append(sums)
        join = torch.stack
    else:
        for groups, (part, g) in _by_rows(sizes, x, grad):
            centred = part - mean[groups].unsqueeze(1)
            found.append([centred.mul_(g).sum(1).mul_(invstd[groups]), g.sum(1)])
        join = torch.cat
    weighted, plain = (join(tables) for tables in zip(*found, strict=True))
    return weighted, plain


def affine_by_groups(x: Tensor, scale: Tensor, shift: Tensor, sizes: list[int]) -> Tensor:
    """Return ``scale * x + shift``, both (k, C), in the layout of ``x``."""
    y = torch.empty_like(x)
    for (part, out), (factor, term) in _with_tables(sizes, (x, y), (scale, shift)):
        torch.addcmul(term, part, factor, out=out)
    return y


def two_term_by_groups(
    x: Tensor, of_x: Tensor, grad: Tensor, of_grad: Tensor, shift: Tensor, sizes: list[int]
) -> Tensor:
    """Return ``of_x * x + of_grad * grad + shift``, these (k, C), in the layout of ``x``."""
    y = torch.empty_like(x)
    for (part, g, out), (first, second, term) in _with_tables(sizes, (x, grad, y), (of_x, of_grad, shift)):
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


def _by_rows(sizes: list[int], *tensors: Tensor) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yield, for groups of one size that fit into the cache together, their place and the tensors' parts, (groups, rows, C)."""
    rows = [_rows(tensor) for tensor in tensors]
    for groups, samples in _parts(tensors[0], sizes):
        shape = (groups.stop - groups.start, -1, tensors[0].shape[1])
        yield groups, [tensor[samples].view(shape) for tensor in rows]


def _with_tables(
    sizes: list[int], tensors: tuple[Tensor, ...], tables: tuple[Tensor, ...]
) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield parts of the tensors, (groups, size, C, ...), and their rows of the tables (k, C), to be broadcast to these."""
    of_image = tensors[0].shape[1:]
    shape = (-1, 1, of_image[0], *(1 for _ in of_image[1:]))
    for groups, samples in _parts(tensors[0], sizes):
        parts = [tensor[samples].view(groups.stop - groups.start, -1, *of_image) for tensor in tensors]
        yield parts, [table[groups].view(shape) for table in tables]


def _parts(x: Tensor, sizes: list[int]) -> Iterator[tuple[slice, slice]]:
    """Yield the places of groups of one size, or of one, and of samples of theirs that fit into the cache together."""
    fit = max(1, _VALUES_AT_ONCE * x.shape[0] // x.numel())
    for groups, samples, size in equal_groups(sizes):
        step = max(1, fit // size)
        for start in range(groups.start, groups.stop, step):
            stop = min(start + step, groups.stop)
            first, last = (samples.start + (group - groups.start) * size for group in (start, stop))
            pieces = range(first, last, last - first if size <= fit else fit)
            yield from ((slice(start, stop), slice(piece, min(piece + pieces.step, last))) for piece in pieces)


def _rows(x: Tensor) -> Tensor:
    """Return ``x`` as (N, ..., C), contiguous: a view where its channels are last in memory."""
    return x.movedim(1, -1).contiguous()
