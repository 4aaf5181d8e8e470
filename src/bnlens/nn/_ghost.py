"""Ghost groups: a batch normalised in groups of M samples, each by its own statistics."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bnlens.nn import _cpu, _cpu_rows, _gpu
from bnlens.nn._ghost_plain import backward_plain, forward_plain, moments_plain
from bnlens.nn._groups import equal_groups
from bnlens.nn._statistics import BatchStatistics

__all__ = ["group_sizes", "normalise_by_groups"]


def group_sizes(samples: int, statistics_batch_size: int) -> list[int]:
    """Return the sizes of the groups, which differ by at most one sample and are never 1.

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
    """Normalise each group of ``x`` (N, C, ...) by its own statistics, in the order of the batch.

    Returns:
        The output, and the statistics of the *whole* batch: group variances plus the variance of group means.
    """
    y, saved = _Ghost.apply(x, weight, bias, eps, sizes)  # type: ignore[no-untyped-call]
    means, _, variances = saved
    share = _per_group(sizes, saved) / x.shape[0]
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    return y, BatchStatistics(mean, variance, x.numel() // x.shape[1])


class _Ghost(torch.autograd.Function):
    """The groups in one node of the graph: plain operations where a compiler fuses them, else kernels."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Return the output and, per group, mean, 1 / sqrt(variance + eps), biased variance: (3, k, C)."""
        if torch.compiler.is_compiling():
            return forward_plain(x, weight, bias, eps, sizes)
        x = _in_order(x)
        kernels = _kernels(x)
        mean, variance = kernels.group_moments(x, sizes)
        invstd = (variance + eps).rsqrt()
        scale = weight * invstd
        y = kernels.affine_by_groups(x, scale, torch.addcmul(bias, mean, scale, value=-1), sizes)
        return y, torch.stack([mean, invstd, variance])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the input, not the normalised input: the backward pass recomputes it."""
        x, weight, _, ctx.eps, ctx.sizes = inputs
        ctx.save_for_backward(x, weight, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of ``x``, ``weight`` and ``bias``."""
        x, weight, saved = ctx.saved_tensors
        mean, invstd, _ = saved
        if torch.compiler.is_compiling():
            dx, dweights, dbiases = backward_plain(grad, x, weight, mean, invstd, ctx.sizes)
        elif torch.is_grad_enabled():  # to be differentiated once more, through the statistics too, hence found again
            mean, variance = moments_plain(x, ctx.sizes)
            dx, dweights, dbiases = backward_plain(grad, x, weight, mean, (variance + ctx.eps).rsqrt(), ctx.sizes)
        else:
            dx, dweights, dbiases = _backward(grad, x, weight, mean, invstd, ctx.sizes)
        return dx, dweights.sum(0), dbiases.sum(0), None, None


def _in_order(x: Tensor) -> Tensor:
    """Return ``x``, on a CPU copied unless its samples follow each other, each with its channels first or last in memory."""
    return x if x.device.type != "cpu" or x.movedim(1, -1).is_contiguous() else x.contiguous()


def _kernels(x: Tensor) -> ModuleType:
    """Return the module of the kernels for ``x``."""
    if x.device.type != "cpu":
        return _gpu
    return _cpu if _cpu.has_fast_groups(x) else _cpu_rows


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of ``x``, and of ``weight`` and ``bias`` per group, (k, C) each."""
    x = _in_order(x)
    kernels = _kernels(x)
    dweights, dbiases = kernels.group_gradients(grad, x, mean, invstd, sizes)
    # gamma / sigma (grad - its mean - xhat times the mean of grad xhat), sorted by x and grad
    scale = weight * invstd
    share = scale / -_values(x, sizes, invstd)
    of_x = share * invstd * dweights
    dx = kernels.two_term_by_groups(x, of_x, grad, scale, share * dbiases - of_x * mean, sizes)
    return dx, dweights, dbiases


def _values(x: Tensor, sizes: list[int], like: Tensor) -> Tensor:
    """Return the values per channel in each group, (k, 1)."""
    return _per_group(sizes, like) * (x.numel() // (x.shape[0] * x.shape[1]))


def _per_group(sizes: list[int], like: Tensor) -> Tensor:
    """Return ``sizes`` as a tensor, (k, 1)."""
    if torch.compiler.is_compiling() or like.device.type == "cpu":
        return torch.tensor(sizes, dtype=like.dtype, device=like.device).unsqueeze(1)
    # a copy to a GPU would wait for all it has to do
    return torch.cat([like.new_full((groups.stop - groups.start, 1), size) for groups, _, size in equal_groups(sizes)])
