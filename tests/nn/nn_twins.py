"""Independent twins of the layers, in plain autograd."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnlens.nn
from bnlens.nn._ghost import group_sizes

LAYERS = {2: bnlens.nn.BatchNorm1d, 3: bnlens.nn.BatchNorm1d, 4: bnlens.nn.BatchNorm2d, 5: bnlens.nn.BatchNorm3d}
TORCH_LAYERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def pair(
    ndim: int, channels: int, *, dtype: torch.dtype = torch.float32, **kwargs: object
) -> tuple[nn.Module, nn.Module]:
    """A bnlens layer and torch's with the same random parameters; ``statistics_batch_size`` goes to the first."""
    M = kwargs.pop("statistics_batch_size", None)
    ours = LAYERS[ndim](channels, dtype=dtype, statistics_batch_size=M, **kwargs)
    torchs = TORCH_LAYERS[ndim](channels, dtype=dtype, **kwargs)
    if ours.affine:
        nn.init.normal_(ours.weight)
        nn.init.normal_(ours.bias)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


# Relative to the largest value: sums of some hundred values of size one, in another order, differ by the root of their number
# times eps or so.
ROUNDING = 32 * torch.finfo(torch.float32).eps


def results(layer: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers of torch's names after one forward and backward pass."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(cotangent)
    found = {"output": y.detach(), "input": x.grad}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in layer.named_parameters()}
    return found | {name: value.clone() for name, value in layer.state_dict().items() if name not in ("weight", "bias")}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max())) if value.numel() else 1.0
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=tolerance * scale, msg=lambda text, name=name: f"{name}: {text}"
        )


def ghost_twin(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: Sequence[int]) -> Tensor:
    """A loop over groups."""
    return torch.cat([F.batch_norm(part, None, None, weight, bias, True, 0.0, eps) for part in x.split(list(sizes))])


def twin_results(
    twin: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, cotangent: Tensor, weight: Tensor, bias: Tensor
) -> dict[str, Tensor]:
    """As `results`, of a function of input, gamma and beta in plain autograd."""
    tensors = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, bias)]
    y = twin(*tensors)
    y.backward(cotangent)
    names = ("input", "gradient of weight", "gradient of bias")
    return {"output": y.detach(), **{name: t.grad for name, t in zip(names, tensors, strict=True)}}


def assert_groups_are_a_loop(
    ours: nn.Module, torchs: nn.Module, x: Tensor, cotangent: Tensor, tolerance: float
) -> None:
    """The layer's ghost groups, at its M, against a loop over groups; running statistics against torch's layer.

    For the groups the tolerance is that of one whose standard deviation is as large as its values. One of two values
    that are nearly equal loses as many digits as they share, and its gradient is divided by that small deviation.
    """
    found = results(ours, x, cotangent)
    weight, bias = x.new_ones(x.shape[1]), x.new_zeros(x.shape[1])
    if torchs.affine:
        weight, bias = torchs.weight, torchs.bias
    sizes = group_sizes(len(x), ours.statistics_batch_size)
    expected = twin_results(lambda *tensors: ghost_twin(*tensors, ours.eps, sizes), x, cotangent, weight, bias)
    with torch.no_grad():
        torchs(x)
    running = {name: torchs.state_dict()[name] for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert_same({name: found.pop(name) for name in running}, running, tolerance)
    dims = [0, *range(2, x.ndim)]
    narrowest = min(float((part.double().var(dims, correction=0) + ours.eps).min()) ** 0.5 for part in x.split(sizes))
    lost = max(1.0, float(x.abs().max()) / narrowest)
    assert_same(found, {name: expected[name] for name in expected if name in found}, tolerance * lost)


class WindowTwin:
    """The window as the formula has it: averages of mean and second moment, then renormalization in plain autograd."""

    def __init__(self) -> None:
        self.first: Tensor | float = 0.0
        self.second: Tensor | float = 0.0
        self.seen = 0.0

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float, a: float) -> Tensor:
        dims = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        with torch.no_grad():
            self.first = (1 - a) * self.first + a * x.mean(dims)
            self.second = (1 - a) * self.second + a * (x * x).mean(dims)
            self.seen = (1 - a) * self.seen + a
            mu = self.first / self.seen
            sigma = (self.second / self.seen - mu * mu + eps).sqrt()
        mean, sigma_batch = x.mean(dims), (x.var(dims, correction=0) + eps).sqrt()
        r, d = (sigma_batch / sigma).detach(), ((mean - mu) / sigma).detach()
        xhat = (x - mean.view(shape)) / sigma_batch.view(shape)
        return (weight * r).view(shape) * xhat + (weight * d + bias).view(shape)
