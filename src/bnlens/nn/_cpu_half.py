"""Large groups in half precision on a CPU, where only the kernels of batch normalization are fast: a call for each group.

``x`` is (N, C, ...) in half precision, gamma, beta and values per group and channel, (k, C), are in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward_by_calls", "forward_by_calls"]


def forward_by_calls(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: list[int]) -> tuple[Tensor, ...]:
    """Return the output and, per group, mean, 1 / sqrt(variance + eps) and biased variance, (k, C) each."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)
    if not (x.is_contiguous() or x.is_contiguous(memory_format=last)):
        x = x.contiguous()  # else the kernel would not write the mean it is to
    y = torch.empty_like(x)
    found = torch.zeros(4, len(sizes), x.shape[1], dtype=weight.dtype)
    for part, out, rows in zip(torch.split(x, sizes), torch.split(y, sizes), found.unbind(1), strict=True):
        mean, invstd, variance, unused = rows
        # with momentum 1 the kernel leaves Bessel's variance in the running variance
        torch.native_batch_norm(part, weight, bias, unused, variance, True, 1.0, eps, out=(out, mean, invstd))
        values = part.numel() // x.shape[1]
        variance.mul_((values - 1) / values)
    return y, *found[:3]


def backward_by_calls(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of ``x``, and of ``weight`` and ``bias`` per group, (k, C) each."""
    dx = torch.empty_like(x)
    found = []
    split = (torch.split(tensor, sizes) for tensor in (grad, x, dx))
    for g, part, out, mu, inverse in zip(*split, mean, invstd, strict=True):
        of_part, *of_parameters = torch.ops.aten.native_batch_norm_backward(
            g, part, weight, None, None, mu, inverse, True, 0.0, [True] * 3
        )
        out.copy_(of_part)
        found.append(of_parameters)
    dweights, dbiases = (torch.stack(rows) for rows in zip(*found, strict=True))
    return dx, dweights, dbiases
