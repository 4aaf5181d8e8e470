"""Groups of images in NCHW order on a CPU, where the kernels of batch normalization are slow.

There these kernels collect statistics by a scalar loop, which is most of what a layer costs, and in the backward pass they
write into no slice. Here ``x`` is (N, C, ...), ``sizes`` are those of groups that follow each other in the order of the batch,
as `bnlens.nn._ghost.group_sizes` gives them, and values per group and channel are (k, C).
"""

from __future__ import annotations

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from bnlens.nn._groups import equal_groups

__all__ = ["affine_by_groups", "group_gradients", "group_moments", "has_fast_groups", "two_term_by_groups"]

_LEAST_PIXELS = 32  # below, the kernels of batch normalization are faster
_VALUES_AT_ONCE = 1 << 18  # 1 MiB in float32, which stays in the cache


def has_fast_groups(x: Tensor) -> bool:
    """Return whether the functions here take ``x``, and faster than the kernels of batch normalization do."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous()
        and x.numel() >= _LEAST_PIXELS * x.shape[0] * x.shape[1]
        and not torch.compiler.is_compiling()
    )


@torch.no_grad()
def group_moments(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance of each group, (k, C) each."""
    pooled = []
    for means, variances in zip(*(_by_groups(table, sizes) for table in _image_moments(x)), strict=True):
        mean = means.mean(1)
        between = (means - mean.unsqueeze(1)).square_().mean(1)  # no difference of squares: nothing cancels
        pooled.append((mean, variances.mean(1).add_(between)))
    mean, variance = (torch.cat(tables) for tables in zip(*pooled, strict=True))
    return mean, variance


def group_gradients(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sums over each group of ``grad`` times the normalised ``x``, and of ``grad``, (k, C) each."""
    flat = (1, x.shape[0] * x.shape[1], -1)  # each image and channel is a channel of its own
    _, *sums = torch.ops.aten.native_batch_norm_backward(
        grad.reshape(flat), x.view(flat), None, None, None,
        *(_by_images(table, sizes).view(-1) for table in (mean, invstd)), True, 0.0, [False, True, True],
    )  # fmt: skip
    weighted, plain = (
        torch.cat([part.sum(1) for part in _by_groups(table.view(x.shape[:2]), sizes)]) for table in sums
    )
    return weighted, plain


def affine_by_groups(x: Tensor, scale: Tensor, shift: Tensor, sizes: list[int]) -> Tensor:
    """Return ``scale * x + shift``, both (k, C)."""
    y = torch.empty_like(x)
    _affine(x, _by_images(scale, sizes), _by_images(shift, sizes), y)
    return y


def two_term_by_groups(
    x: Tensor, of_x: Tensor, grad: Tensor, of_grad: Tensor, shift: Tensor, sizes: list[int]
) -> Tensor:
    """Return ``of_x * x + of_grad * grad + shift``, these (k, C)."""
    y = torch.empty_like(x)
    tables = (_by_images(table, sizes) for table in (of_x, of_grad, shift))
    images = max(1, _VALUES_AT_ONCE * x.shape[0] // x.numel())
    parts = (torch.split(tensor, images) for tensor in (x, grad, y, *tables))
    for part, g, out, first, second, term in zip(*parts, strict=True):
        # what the first operation writes is in the cache when the second one reads it
        _affine(part, first, term, out)
        out.addcmul_(g, second.view(*second.shape, *(1 for _ in x.shape[2:])))
    return y


def _affine(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """Write ``scale * x + shift`` into ``out``, both (N, C)."""
    # written to through a view: a view of an output would refuse to be changed in place
    flat = (1, scale.numel(), -1)
    weight, bias = scale.view(-1), shift.view(-1)
    zeros, ones = torch.zeros_like(weight), torch.ones_like(weight)
    unused = weight.new_empty(2, 0)
    torch.native_batch_norm(x.view(flat), weight, bias, zeros, ones, False, 0.0, 0.0, out=(out.view(flat), *unused))


def _image_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance over the pixels of each image and channel, (N, C) each."""
    # Group normalization of one row per image and channel, without epsilon: its statistics are vectorised. Its output is
    # of no use, so the rows are taken in parts.
    primal = forward_ad.unpack_dual(x.detach()).primal  # type: ignore[no-untyped-call]
    rows = primal.view(x.shape[0] * x.shape[1], 1, -1)
    pixels = rows.shape[2]
    parts = [
        torch.native_group_norm(part, None, None, len(part), 1, pixels, 1, 0.0)[1:]
        for part in rows.split(max(1, _VALUES_AT_ONCE // pixels))
    ]
    mean, invstd = (torch.cat(found).view(x.shape[:2]) for found in zip(*parts, strict=True))
    return mean, invstd.square().reciprocal_()  # 0 where the variance is


def _by_groups(table: Tensor, sizes: list[int]) -> list[Tensor]:
    """Return the views of ``table`` (N, C) for each run of groups of one size: (groups, size, C)."""
    return [table[samples].view(-1, size, table.shape[1]) for _, samples, size in equal_groups(sizes)]


def _by_images(table: Tensor, sizes: list[int]) -> Tensor:
    """Return ``table`` (k, C) with the row of a group for each of its samples, (N, C)."""
    return table.repeat_interleave(torch.tensor(sizes), 0, output_size=sum(sizes))
