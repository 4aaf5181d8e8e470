"""Ghost groups: a batch normalised in groups of M samples, each by its own statistics."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bnlens.nn import _cpu, _cpu_rows, _gpu
from bnlens.nn._cpu_half import backward_by_calls, forward_by_calls
from bnlens.nn._ghost_plain import backward_plain, forward_plain, moments_plain
from bnlens.nn._graphs import is_exporting
from bnlens.nn._groups import equal_groups
from bnlens.nn._statistics import BatchStatistics, statistics_dtype

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
    if is_exporting():
        y, *saved = forward_plain(x, weight, bias, eps, sizes)
        means, _, variances = (table.detach() for table in saved)
    else:
        y, means, _, variances = _Ghost.apply(x, weight, bias, eps, sizes)  # type: ignore[no-untyped-call]
    per_group = _per_group(sizes, means)

    def average(table: Tensor) -> Tensor:  # on small inputs the number of operations is the cost of the layer
        return table.mean(0) if isinstance(per_group, float) else (per_group / x.shape[0] * table).sum(0)

    mean = average(means)
    deviations = means - mean
    return y, BatchStatistics(mean, average(torch.addcmul(variances, deviations, deviations)), x.numel() // x.shape[1])


class _Ghost(torch.autograd.Function):
    """The groups in one node of the graph: plain operations where a compiler fuses them, else kernels."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, ...]:
        """Return the output and, per group, mean, 1 / sqrt(variance + eps) and biased variance, (k, C) each."""
        if torch.compiler.is_compiling():
            return forward_plain(x, weight, bias, eps, sizes)
        if _takes_calls(x, sizes):
            return forward_by_calls(x, weight, bias, eps, sizes)
        dtype = x.dtype
        x, kernels = _arranged(x)
        mean, variance = kernels.group_moments(x, sizes)
        invstd = (variance + eps).rsqrt()
        scale = weight * invstd
        y = kernels.affine_by_groups(x, scale, torch.addcmul(bias, mean, scale, value=-1), sizes)
        return y.to(dtype), mean, invstd, variance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the input, not the normalised input: the backward pass recomputes it."""
        x, weight, _, ctx.eps, ctx.sizes = inputs
        _, *statistics = output
        ctx.save_for_backward(x, weight, *statistics[:2])
        ctx.mark_non_differentiable(*statistics)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of ``x``, ``weight`` and ``bias``."""
        x, weight, mean, invstd = ctx.saved_tensors
        if torch.compiler.is_compiling():
            dx, dweights, dbiases = backward_plain(grad, x, weight, mean, invstd, ctx.sizes)
        elif torch.is_grad_enabled():  # to be differentiated once more, through the statistics too, hence found again
            mean, variance = moments_plain(x, ctx.sizes)
            dx, dweights, dbiases = backward_plain(grad, x, weight, mean, (variance + ctx.eps).rsqrt(), ctx.sizes)
        else:
            dx, dweights, dbiases = _backward(grad, x, weight, mean, invstd, ctx.sizes)
        return dx, dweights.sum(0), dbiases.sum(0), None, None


def _kernels(x: Tensor) -> ModuleType:
    """Return the module of the kernels for the device, type and layout of ``x``."""
    if x.device.type != "cpu":
        return _gpu
    return _cpu if _cpu.has_fast_groups(x) else _cpu_rows


def _takes_calls(x: Tensor, sizes: list[int]) -> bool:
    """Return whether groups are normalised one by one."""
    return x.dtype != statistics_dtype(x) and _kernels(x) is not _gpu and _cpu_rows.are_large(x, sizes)


def _arranged(x: Tensor) -> tuple[Tensor, ModuleType]:
    """Return ``x`` as kernels take it, and their module: on a CPU in float32 or wider, its channels first or last in memory."""
    if _kernels(x) is _gpu:
        return x, _gpu
    x = x.to(statistics_dtype(x))
    if not (x.is_contiguous() or x.movedim(1, -1).is_contiguous()):
        x = x.contiguous()
    return x, _kernels(x)


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of ``x``, and of ``weight`` and ``bias`` per group, (k, C) each."""
    if _takes_calls(x, sizes):
        return backward_by_calls(grad, x, weight, mean, invstd, sizes)
    dtype = x.dtype
    x, kernels = _arranged(x)
    grad = grad.to(x.dtype)
    dweights, dbiases = kernels.group_gradients(grad, x, mean, invstd, sizes)
    # gamma / sigma (grad - its mean - xhat times the mean of grad xhat), sorted by x and grad
    scale = weight * invstd
    share = scale / -_values(x, sizes, invstd)
    of_x = share * invstd * dweights
    shift = torch.addcmul(share * dbiases, of_x, mean, value=-1)
    dx = kernels.two_term_by_groups(x, of_x, grad, scale, shift, sizes)
    return dx.to(dtype), dweights, dbiases


def _values(x: Tensor, sizes: list[int], like: Tensor) -> float | Tensor:
    """Return the values per channel in each group, one number or (k, 1)."""
    return _per_group(sizes, like) * (x.numel() // (x.shape[0] * x.shape[1]))


def _per_group(sizes: list[int], like: Tensor) -> float | Tensor:
    """Return ``sizes`` as one number where they are equal, else as a tensor, (k, 1)."""
    if all(size == sizes[0] for size in sizes):
        return float(sizes[0])
    if torch.compiler.is_compiling() or like.device.type == "cpu":
        return torch.tensor(sizes, dtype=like.dtype, device=like.device).unsqueeze(1)
    # a copy to a GPU would wait for all it has to do
    return torch.cat([like.new_full((groups.stop - groups.start, 1), size) for groups, _, size in equal_groups(sizes)])
