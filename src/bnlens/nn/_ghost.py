"""Ghost groups: a batch normalised in groups of M samples, each by its own statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnlens.nn._statistics import BatchStatistics, statistics_dtype

__all__ = ["group_sizes", "normalise_by_groups"]


def group_sizes(samples: int, statistics_batch_size: int) -> list[int]:
    """Sizes of the groups, which differ by at most one sample and are never 1.

    There are k = round(samples / M) groups. The noise of a group's statistics goes as one over its size; its mean over
    samples is k / samples, and this k brings it nearest to 1 / M.

    >>> group_sizes(100, 32), group_sizes(65, 64), group_sizes(5, 2)
    ([34, 33, 33], [65], [3, 2])
    """
    M = statistics_batch_size
    groups = max(1, min((2 * samples + M) // (2 * M), samples // 2))  # round() and divmod() know no symbolic sizes
    size, larger = samples // groups, samples % groups
    return [size + 1] * larger + [size] * (groups - larger)


def normalise_by_groups(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]
) -> tuple[Tensor, BatchStatistics]:
    """Batch normalization of each group of ``x`` (N, C, ...), taken in the order of the batch.

    Returns:
        The output, and the statistics of the *whole* batch: group variances plus the variance of group means.
    """
    y, saved = _Ghost.apply(x, weight, bias, eps, sizes)  # type: ignore[no-untyped-call]
    pixels = x.numel() // (x.shape[0] * x.shape[1])
    means, bessel = saved[0], saved[2]
    counts = torch.tensor(sizes, dtype=saved.dtype, device=x.device).unsqueeze(1) * pixels
    share = counts / (x.shape[0] * pixels)
    mean = (share * means).sum(0)
    variance = (share * (bessel * (counts - 1) / counts + (means - mean).square())).sum(0)
    return y, BatchStatistics(mean, variance, x.shape[0] * pixels)


class _Ghost(torch.autograd.Function):
    """One native call per contiguous slice, forward and backward, in one node of the graph."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Return the output and, per group, mean, 1 / sqrt(variance + eps), Bessel variance: (3, k, C)."""
        parts = torch.split(x, sizes)
        if torch.compiler.is_compiling():  # inductor functionalises no kernel that writes into a slice
            rows, outputs = [], []
            for part in parts:
                scratch = torch.zeros(2, x.shape[1], dtype=statistics_dtype(x), device=x.device)
                y, mean, invstd = torch.native_batch_norm(part, weight, bias, scratch[0], scratch[1], True, 1.0, eps)
                outputs.append(y)
                rows.append(torch.stack([mean, invstd, scratch[1]]))
            return torch.cat(outputs), torch.stack(rows, 1)
        y = torch.empty_like(x)
        saved = torch.zeros(4, len(sizes), x.shape[1], dtype=statistics_dtype(x), device=x.device)
        for i, (part, out) in enumerate(zip(parts, torch.split(y, sizes), strict=True)):
            mean, invstd, bessel, scratch = saved[:, i]
            torch.native_batch_norm(part, weight, bias, scratch, bessel, True, 1.0, eps, out=(out, mean, invstd))
        return y, saved[:3]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the input, not the normalised input: the native backward recomputes it."""
        x, weight, _, ctx.eps, ctx.sizes = inputs
        ctx.save_for_backward(x, weight, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of ``x``, ``weight`` and ``bias``."""
        x, weight, saved = ctx.saved_tensors
        slices = list(zip(torch.split(grad, ctx.sizes), torch.split(x, ctx.sizes), saved[0], saved[1], strict=True))
        if torch.compiler.is_compiling() or torch.is_grad_enabled():  # to be compiled, or differentiated once more
            results = [
                torch.ops.aten.native_batch_norm_backward(
                    g, part, weight, None, None, mean, invstd, True, ctx.eps, [True] * 3
                )
                for g, part, mean, invstd in slices
            ]
            parts, dweights, dbiases = zip(*results, strict=True)
            return torch.cat(parts), torch.stack(dweights).sum(0), torch.stack(dbiases).sum(0), None, None
        dx = torch.empty_like(x)
        affine = weight.new_empty(2, len(ctx.sizes), x.shape[1])
        for i, ((g, part, mean, invstd), out) in enumerate(zip(slices, torch.split(dx, ctx.sizes), strict=True)):
            torch.ops.aten.native_batch_norm_backward.out(
                g, part, weight, None, None, mean, invstd, True, ctx.eps, [True] * 3,
                out0=out, out1=affine[0, i], out2=affine[1, i],
            )  # fmt: skip
        dweight, dbias = affine.sum(1)
        return dx, dweight, dbias, None, None
