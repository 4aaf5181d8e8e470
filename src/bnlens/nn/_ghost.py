"""Ghost groups: a batch normalised in groups of M samples, each by its own statistics."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bnlens.nn import _cpu, _gpu
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
        y, saved = forward_plain(x, weight, bias, eps, sizes)
    else:
        y, saved = _Ghost.apply(x, weight, bias, eps, sizes)  # type: ignore[no-untyped-call]
    means, _, variances = saved.detach()
    share = _per_group(sizes, saved) / x.shape[0]
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    return y, BatchStatistics(mean, variance, x.numel() // x.shape[1])


class _Ghost(torch.autograd.Function):
    """The groups in one node of the graph: plain operations where a compiler fuses them, else the device's own kernels."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Return the output and, per group, mean, 1 / sqrt(variance + eps), biased variance: (3, k, C)."""
        if torch.compiler.is_compiling():
            return forward_plain(x, weight, bias, eps, sizes)
        if (kernels := _kernels(x)) is not None:
            return _forward_by(kernels, x, weight, bias, eps, sizes)
        return _forward_sliced(x, weight, bias, eps, sizes)

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
        kernels = _kernels(x)
        if torch.compiler.is_compiling():
            dx, dweights, dbiases = backward_plain(grad, x, weight, mean, invstd, ctx.sizes)
        elif kernels is not None and not torch.is_grad_enabled():
            dx, dweights, dbiases = _backward_by(kernels, grad, x, weight, mean, invstd, ctx.sizes)
        elif kernels is _gpu:  # to be differentiated once more, through the statistics too, which are hence found again
            mean, variance = moments_plain(x, ctx.sizes)
            dx, dweights, dbiases = backward_plain(grad, x, weight, mean, (variance + ctx.eps).rsqrt(), ctx.sizes)
        else:  # the native call can be differentiated once more
            dx, dweights, dbiases = _backward_sliced(grad, x, weight, mean, invstd, ctx.eps, ctx.sizes)
        return dx, dweights.sum(0), dbiases.sum(0), None, None


def _kernels(x: Tensor) -> ModuleType | None:
    """Return the module whose functions take all groups at once, if there is one for ``x``."""
    if x.device.type != "cpu":
        return _gpu
    return _cpu if _cpu.has_fast_groups(x) else None


def _forward_by(
    kernels: ModuleType, x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """Normalise by the kernels of `bnlens.nn._cpu` or `bnlens.nn._gpu`."""
    mean, variance = kernels.group_moments(x, sizes)
    invstd = (variance + eps).rsqrt()
    scale = weight * invstd
    y = kernels.affine_by_groups(x, scale, torch.addcmul(bias, mean, scale, value=-1), sizes)
    return y, torch.stack([mean, invstd, variance])


def _backward_by(
    kernels: ModuleType, grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    dweights, dbiases = kernels.group_gradients(grad, x, mean, invstd, sizes)
    # gamma / sigma (grad - its mean - xhat times the mean of grad xhat), sorted by x and grad
    scale = weight * invstd
    share = scale / -_values(x, sizes, invstd)
    of_x = share * invstd * dweights
    dx = kernels.two_term_by_groups(x, of_x, grad, scale, share * dbiases - of_x * mean, sizes)
    return dx, dweights, dbiases


def _forward_sliced(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Make one native call per contiguous slice."""
    y = torch.empty_like(x)
    saved = torch.zeros(4, len(sizes), x.shape[1], dtype=statistics_dtype(x), device=x.device)
    for i, (part, out) in enumerate(zip(torch.split(x, sizes), torch.split(y, sizes), strict=True)):
        mean, invstd, bessel, scratch = saved[:, i]
        torch.native_batch_norm(part, weight, bias, scratch, bessel, True, 1.0, eps, out=(out, mean, invstd))
    values = _values(x, sizes, saved)
    saved[2].mul_((values - 1) / values)
    return y, saved[:3]


def _backward_sliced(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, eps: float, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    # with out= the kernel would copy what it writes elsewhere, as cat does
    results = [
        torch.ops.aten.native_batch_norm_backward(g, part, weight, None, None, mu, inverse, True, eps, [True] * 3)
        for g, part, mu, inverse in zip(torch.split(grad, sizes), torch.split(x, sizes), mean, invstd, strict=True)
    ]
    parts, dweights, dbiases = zip(*results, strict=True)
    return torch.cat(parts), torch.stack(dweights), torch.stack(dbiases)


def _values(x: Tensor, sizes: list[int], like: Tensor) -> Tensor:
    """Return the values per channel in each group, (k, 1)."""
    return _per_group(sizes, like) * (x.numel() // (x.shape[0] * x.shape[1]))


def _per_group(sizes: list[int], like: Tensor) -> Tensor:
    """Return ``sizes`` as a tensor, (k, 1)."""
    if torch.compiler.is_compiling() or like.device.type == "cpu":
        return torch.tensor(sizes, dtype=like.dtype, device=like.device).unsqueeze(1)
    # a copy to a GPU would wait for all it has to do
    return torch.cat([like.new_full((groups.stop - groups.start, 1), size) for groups, _, size in equal_groups(sizes)])
