"""The path of ghost groups on a GPU, called on the CPU, against a loop over groups."""

import pytest
import torch
from nn_twins import assert_groups_are_a_loop, ghost_twin, pair
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bnlens.nn import _ghost, _gpu
from bnlens.nn._ghost import normalise_by_groups

SHAPES = [(11, 3), (11, 3, 40), (12, 3, 3, 2), (11, 3, 8, 6), (9, 2, 4, 3, 5)]  # with few pixels and with many
TOLERANCE = {torch.float32: 4e-6, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def gpu_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ghost, "_kernels", lambda x: _gpu)


def images(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64, *, offset: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (offset + 2 * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("M", [2, 3, 4])
@pytest.mark.parametrize("affine", [True, False])
def test_ghost_groups_equal_a_loop(dtype, shape, M, affine):
    torch.manual_seed(M)
    layer, torchs = pair(len(shape), shape[1], dtype=dtype, statistics_batch_size=M, affine=affine)
    x, cotangent = (images(shape, seed, dtype) for seed in range(2))
    assert_groups_are_a_loop(layer, torchs, x, cotangent, TOLERANCE[dtype])


@pytest.mark.parametrize("of_gradient", [torch.contiguous_format, torch.channels_last], ids=str)
def test_channels_last_stays_and_gives_the_same(of_gradient):
    torch.manual_seed(0)
    layer, torchs = pair(4, 3, dtype=torch.float64, statistics_batch_size=4)
    x, cotangent = (images((11, 3, 8, 6), seed) for seed in range(2))
    x, cotangent = x.to(memory_format=torch.channels_last), cotangent.to(memory_format=of_gradient)
    assert_groups_are_a_loop(layer, torchs, x, cotangent, TOLERANCE[torch.float64])
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(leaf)
    y.backward(cotangent)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert leaf.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
def test_bfloat16_is_rounded_once(order):
    """Statistics and sums are in float32: against float64, only the outputs' own rounding is left."""
    sizes, eps = [4, 4, 3], 1e-5
    x, grad = (images((11, 3, 8, 6), seed, torch.bfloat16).to(memory_format=order) for seed in range(2))
    weight, bias = (images((3,), seed, torch.float32) for seed in (2, 3))
    found, expected = [], []
    for given, function in (
        ((x, weight, bias), lambda *tensors: normalise_by_groups(*tensors, eps, sizes)[0]),
        ((x.double(), weight.double(), bias.double()), lambda *tensors: ghost_twin(*tensors, eps, sizes)),
    ):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in given]
        y = function(*leaves)
        (expected if found else found).extend([y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))])
    assert [tensor.dtype for tensor in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for tensor, exact in zip(found, expected, strict=True):
        rounding = torch.finfo(tensor.dtype).eps / 2
        assert ((tensor - exact).abs() <= 1.01 * rounding * exact.abs() + 1e-5 * exact.abs().max()).all()


@pytest.mark.parametrize("shape", [(7, 2, 2, 1), (5, 2, 32)], ids=str)
def test_gradients_to_second_order(shape):
    sizes = [4, 3] if shape[0] == 7 else [3, 2]
    x, weight, bias = (images(given, seed).requires_grad_() for seed, given in enumerate((shape, (2,), (2,))))
    cotangent = images(shape, 3)
    penalties = []
    for forward in (
        lambda *given: normalise_by_groups(*given, 1e-5, sizes)[0],
        lambda *given: ghost_twin(*given, 1e-5, sizes),
    ):
        y = forward(x, weight, bias)
        first = torch.autograd.grad((y * cotangent).sum(), (x, weight), create_graph=True)
        penalties.append(torch.autograd.grad(sum(each.square().sum() for each in first), (x, weight)))
    torch.testing.assert_close(*penalties)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("offset", [1e2, -1e4])
def test_a_large_mean_costs_no_more_than_float32_inputs_lose(shape, offset):
    x = images(shape, 0, torch.float32, offset=offset)
    sizes = [6, shape[0] - 6]
    mean, variance = _gpu.group_moments(x, sizes)
    for i, part in enumerate(x.double().split(sizes)):
        values = part.transpose(0, 1).flatten(1)
        sigma = values.std(1, correction=0)
        resolution = (1 + values.mean(1).abs() / sigma) * torch.finfo(torch.float32).eps
        assert ((mean[i] - values.mean(1)).abs() / sigma < resolution).all()
        assert ((variance[i] / sigma.square() - 1).abs() < 2 * resolution).all()


class Counter(TorchDispatchMode):
    """Counts operations but for views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_number_of_operations_does_not_grow_with_the_number_of_groups(order, dtype):
    counts = []
    for samples in (11, 43):  # two and ten groups of 4, and one of 3
        layer, _ = pair(4, 3, statistics_batch_size=4)
        x = images((samples, 3, 8, 6), 0, dtype).to(memory_format=order).requires_grad_()
        with Counter() as counter:
            layer(x).sum().backward()
        counts.append(counter.count)
    assert counts[0] == counts[1]
