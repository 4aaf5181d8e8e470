"""Groups of images where each operation is the launch of a kernel, on a GPU: its number does not grow with that of groups.

``x`` is (N, C, ...) in any layout, ``sizes`` are those of groups that follow each other in the order of the batch, at most two
different ones, and values per group and channel are (k, C), in float32 or wider also where ``x`` is not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.nn._groups import equal_groups

__all__ = ["affine_by_groups", "group_gradients", "group_moments", "two_term_by_groups"]

_LEAST_PIXELS = 32  # below, a block of threads for each image and channel has too little to do


def group_moments(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance of each group, (k, C) each."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    means, variances = [], []
    if _has_image_kernels(x):
        flat = x.view(1, x.shape[0] * x.shape[1], -1)
        unused = torch.zeros(
            2, flat.shape[1], dtype=dtype, device=x.device
        )  # without them the kernel computes in x's type
        image_moments = torch.batch_norm_update_stats(flat, unused[0], unused[1], 1.0)
        for mean_of, variance_of in zip(
            *(_by_groups(table.view(x.shape[:2]), sizes) for table in image_moments), strict=True
        ):
            between, mean = torch.var_mean(mean_of, 1, correction=0)  # no difference of squares: nothing cancels
            means.append(mean)
            variances.append(variance_of.mean(1).add_(between))
    else:
        for part in _by_groups(x, sizes):
            variance, mean = torch.var_mean(part.to(dtype), _within_groups(x), correction=0)
            means.append(mean)
            variances.append(variance)
    return torch.cat(means), torch.cat(variances)


def group_gradients(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sums over each group of ``grad`` times the normalised ``x``, and of ``grad``, (k, C) each."""
    if _has_image_kernels(x):
        flat = (1, x.shape[0] * x.shape[1], -1)  # each image and channel is a channel of its own
        means, invstds = (_by_images(table, sizes).view(-1) for table in (mean, invstd))
        ones = torch.ones_like(means)  # its type is that of the sums
        _, *sums = torch.ops.aten.native_batch_norm_backward(
            grad.reshape(flat), x.view(flat), ones, None, None, means, invstds, True, 0.0, [False, True, True]
        )
        weighted, plain = (
            torch.cat([part.sum(1) for part in _by_groups(table.view(x.shape[:2]), sizes)]) for table in sums
        )
        return weighted, plain
    sums_of_products, sums_of_grad = [], []
    for (groups, _, _), part, g in zip(equal_groups(sizes), _by_groups(x, sizes), _by_groups(grad, sizes), strict=True):
        centred = part - mean[groups].view(_table_shape(part))
        sums_of_products.append(centred.mul_(g).sum(_within_groups(x)))
        sums_of_grad.append(g.sum(_within_groups(x), dtype=mean.dtype))
    return torch.cat(sums_of_products) * invstd, torch.cat(sums_of_grad)


def affine_by_groups(x: Tensor, scale: Tensor, shift: Tensor, sizes: list[int]) -> Tensor:
    """Return ``scale * x + shift``, both (k, C), in the type and layout of ``x``."""
    y = torch.empty_like(x)
    for (groups, _, _), part, out in zip(equal_groups(sizes), _by_groups(x, sizes), _by_groups(y, sizes), strict=True):
        factor, term = (table[groups].view(_table_shape(part)) for table in (scale, shift))
        torch.addcmul(term, part, factor, out=out)
    return y


def two_term_by_groups(
    x: Tensor, of_x: Tensor, grad: Tensor, of_grad: Tensor, shift: Tensor, sizes: list[int]
) -> Tensor:
    """Return ``of_x * x + of_grad * grad + shift``, these (k, C), in the type and layout of ``x``."""
    y = torch.empty_like(x)
    parts = (_by_groups(tensor, sizes) for tensor in (x, grad, y))
    for (groups, _, _), part, g, out in zip(equal_groups(sizes), *parts, strict=True):
        first, second, term = (table[groups].view(_table_shape(part)) for table in (of_x, of_grad, shift))
        torch.addcmul(torch.addcmul(term, part, first), g, second, out=out)
    return y


def _has_image_kernels(x: Tensor) -> bool:
    """Return whether torch's kernels may take each image and channel of ``x`` for a channel; in another layout they cannot."""
    return (
        x.device.type in ("cuda", "cpu") and x.is_contiguous() and x.numel() >= _LEAST_PIXELS * x.shape[0] * x.shape[1]
    )


def _by_groups(x: Tensor, sizes: list[int]) -> list[Tensor]:
    """Return the views of ``x`` (N, C, ...) for each run of groups of one size: (groups, size, C, ...)."""
    return [x[samples].view(-1, size, *x.shape[1:]) for _, samples, size in equal_groups(sizes)]


def _by_images(table: Tensor, sizes: list[int]) -> Tensor:
    """Return ``table`` (k, C) with the row of a group for each of its samples, (N, C)."""
    return torch.cat([table[groups].repeat_interleave(size, 0) for groups, _, size in equal_groups(sizes)])


def _table_shape(part: Tensor) -> list[int]:
    """Return the shape that a table of ``part`` (groups, size, C, ...) is broadcast from."""
    return [part.shape[0], 1, part.shape[2], *(1 for _ in part.shape[3:])]


def _within_groups(x: Tensor) -> list[int]:
    """Return the dimensions of samples and pixels of ``x``, once its samples are in groups: (k, samples, C, ...)."""
    return [1, *range(3, x.ndim + 1)]
