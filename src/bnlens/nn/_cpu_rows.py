"""Groups on a CPU where values of different channels are neighbours, as in (N, C) and in channels-last order, or pixels are few.

``x`` is (N, C, ...), contiguous or with its channels last in memory, of any type, ``sizes`` are those of groups that follow each
other in the order of the batch, and values per group and channel are (k, C), in float32 or wider. For sums, a large group is
one call of a kernel of batch normalization, and small ones are a few operations on many at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bnlens.nn import _gpu
from bnlens.nn._gpu import affine_by_groups
from bnlens.nn._groups import equal_groups

__all__ = ["affine_by_groups", "group_gradients", "group_moments", "two_term_by_groups"]

_LARGE_GROUP = 1 << 15  # values; from here on the call of a kernel takes little of the time
_VALUES_AT_ONCE = 1 << 19  # 2 MiB in float32, which stay in the cache from one operation to the next
_LEAST_PIXELS = 8  # below, the kernels of batch normalization are slow in NCHW order


def group_moments(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance of each group, (k, C) each."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    found = []
    if _are_large(x, sizes):
        for (part,) in _by_group(sizes, x):
            # in half precision the kernel computes in it, but where running statistics are wider
            unused = (None, None) if dtype == x.dtype else torch.zeros(2, x.shape[1], dtype=dtype).unbind()
            found.append(torch.batch_norm_update_stats(part, *unused, 1.0))
        join = torch.stack
    else:
        for _, (part,) in _by_rows(sizes, x):
            mean = part.mean(1, dtype=dtype)
            found.append((mean, (part - mean.unsqueeze(1)).square_().mean(1)))
        join = torch.cat
    mean, variance = (join(tables) for tables in zip(*found, strict=True))
    return mean, variance


def group_gradients(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sums over each group of ``grad`` times the normalised ``x``, and of ``grad``, (k, C) each."""
    found = []
    if _are_large(x, sizes):
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
            found.append([centred.mul_(g).sum(1).mul_(invstd[groups]), g.sum(1, dtype=mean.dtype)])
        join = torch.cat
    weighted, plain = (join(tables) for tables in zip(*found, strict=True))
    return weighted, plain


def two_term_by_groups(
    x: Tensor, of_x: Tensor, grad: Tensor, of_grad: Tensor, shift: Tensor, sizes: list[int]
) -> Tensor:
    """Return ``of_x * x + of_grad * grad + shift``, these (k, C), in the type and layout of ``x``."""
    if x.dtype != shift.dtype:  # to round once
        return _gpu.two_term_by_groups(x, of_x, grad, of_grad, shift, sizes)
    y = torch.empty_like(x)
    shape = (-1, 1, x.shape[1], *(1 for _ in x.shape[2:]))
    for groups, samples in _parts(x, sizes):
        part, g, out = (tensor[samples].unflatten(0, (groups.stop - groups.start, -1)) for tensor in (x, grad, y))
        first, second, term = (table[groups].view(shape) for table in (of_x, of_grad, shift))
        torch.addcmul(term, part, first, out=out).addcmul_(g, second)
    return y


def _are_large(x: Tensor, sizes: list[int]) -> bool:
    return x.numel() >= _LARGE_GROUP * len(sizes)


def _by_group(sizes: list[int], *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the parts of the tensors, (N, C, ...), for each group, in the layout that suits the kernels: rows are (rows, C)."""
    x = tensors[0]
    pixels = x.numel() // (x.shape[0] * x.shape[1])
    if x.is_contiguous() and (pixels == 1 or pixels >= _LEAST_PIXELS):
        return zip(*(tensor.contiguous().split(sizes) for tensor in tensors), strict=True)
    rows = (_rows(tensor).view(-1, x.shape[1]) for tensor in tensors)
    return zip(*(tensor.split([pixels * size for size in sizes]) for tensor in rows), strict=True)


def _by_rows(sizes: list[int], *tensors: Tensor) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yield, for groups of one size that fit into the cache together, their place and the tensors' parts, (groups, rows, C)."""
    rows = [_rows(tensor) for tensor in tensors]
    for groups, samples in _parts(tensors[0], sizes):
        shape = (groups.stop - groups.start, -1, tensors[0].shape[1])
        yield groups, [tensor[samples].view(shape) for tensor in rows]


def _parts(x: Tensor, sizes: list[int]) -> Iterator[tuple[slice, slice]]:
    """Yield the places of groups of one size that fit into the cache together, or of one that does not, and their samples'."""
    for groups, samples, size in equal_groups(sizes):
        step = max(1, _VALUES_AT_ONCE * x.shape[0] // (size * x.numel()))
        for start in range(groups.start, groups.stop, step):
            stop = min(start + step, groups.stop)
            first, last = (samples.start + (group - groups.start) * size for group in (start, stop))
            yield slice(start, stop), slice(first, last)


def _rows(x: Tensor) -> Tensor:
    """Return ``x`` as (N, ..., C), contiguous: a view where its channels are last in memory."""
    return x.movedim(1, -1).contiguous()
