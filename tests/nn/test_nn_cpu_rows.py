"""Ghost groups on a CPU where channels are last in memory or pixels are few: many at once, and a call for each."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_twins import assert_same, ghost_twin, pair, results, twin_results
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bnlens.nn import _cpu_rows
from bnlens.nn._ghost import group_sizes, normalise_by_groups

PIXELS = [(), (1,), (3,), (5, 2), (4, 3), (2, 1, 2)]
LARGE_GROUPS = [0, 1 << 40]  # a call for each group, operations on all


def images(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64, *, mean: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (mean + 2 * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype)


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def exact_moments(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    parts = [part.double().transpose(0, 1).flatten(1) for part in x.split(sizes)]
    return torch.stack([part.mean(1) for part in parts]), torch.stack([part.var(1, correction=0) for part in parts])


@pytest.mark.parametrize("large_group", LARGE_GROUPS)
@given(
    samples=st.integers(4, 13),
    channels=st.integers(1, 5),
    M=st.integers(2, 4),
    pixels=st.sampled_from(PIXELS),
    last=st.booleans(),
    values_at_once=st.sampled_from([1, 40, 1 << 19]),
    seed=st.integers(0, 1000),
)
def test_ghost_groups_are_a_loop_however_parts_fall(
    large_group, samples, channels, M, pixels, last, values_at_once, seed
):
    sizes, eps = group_sizes(samples, M), 1e-3
    x, cotangent = (images((samples, channels, *pixels), seed + i) for i in range(2))
    if last:
        x = channels_last(x)
    weight, bias = (images((channels,), seed + i) for i in range(2, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cpu_rows, "_LARGE_GROUP", large_group)
        patch.setattr(_cpu_rows, "_VALUES_AT_ONCE", values_at_once)
        found = twin_results(lambda *tensors: normalise_by_groups(*tensors, eps, sizes)[0], x, cotangent, weight, bias)
        _, batch = normalise_by_groups(x, weight, bias, eps, sizes)
    expected = twin_results(lambda *tensors: ghost_twin(*tensors, eps, sizes), x, cotangent, weight, bias)
    assert_same(found, expected, 1e-11)
    torch.testing.assert_close((batch.mean, batch.variance), tuple(t[0] for t in exact_moments(x, [samples])))


@pytest.mark.parametrize("large_group", LARGE_GROUPS)
@pytest.mark.parametrize("shape", [(16, 3), (16, 3, 7, 5)], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1e2, 1e3, -1e5])
def test_moments_lose_little_more_to_a_large_mean_than_float32_inputs_do(monkeypatch, offset, shape, large_group):
    monkeypatch.setattr(_cpu_rows, "_LARGE_GROUP", large_group)
    x = channels_last(images(shape, mean=offset, dtype=torch.float32))
    mean, variance = _cpu_rows.group_moments(x, [5, 5, 6])
    exact_mean, exact_variance = exact_moments(x, [5, 5, 6])
    sigma = exact_variance.sqrt()
    resolution = (1 + exact_mean.abs() / sigma) * torch.finfo(torch.float32).eps  # of (x - mean) / sigma in such inputs
    growth = (x[:6].numel() / x.shape[1]) ** 0.5  # of rounding, where values are added one after the other
    assert ((mean - exact_mean).abs() / sigma < growth * resolution).all()
    assert ((variance / exact_variance - 1).abs() < 2 * growth * resolution).all()


@pytest.mark.parametrize("large_group", LARGE_GROUPS)
@pytest.mark.parametrize("shape", [(11, 3), (11, 3, 40), (11, 3, 8, 6), (11, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_rounded_at_the_end(monkeypatch, dtype, last, shape, large_group):
    """Statistics and sums are in float32: against float64, only the outputs' own rounding is left."""
    monkeypatch.setattr(_cpu_rows, "_LARGE_GROUP", large_group)
    sizes, eps = [4, 4, 3], 1e-5
    x, grad = (images(shape, seed, dtype) for seed in range(2))
    x = channels_last(x) if last else x
    weight, bias = (images((3,), seed, torch.float32) for seed in (2, 3))
    found, expected = [], []
    for tensors, function, kept in (
        ((x, weight, bias), lambda *given: normalise_by_groups(*given, eps, sizes)[0], found),
        ((x.double(), weight.double(), bias.double()), lambda *given: ghost_twin(*given, eps, sizes), expected),
    ):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        y = function(*leaves)
        kept.extend([y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))])
    assert [tensor.dtype for tensor in found] == [dtype] * 2 + [torch.float32] * 2
    for tensor, exact in zip(found, expected, strict=True):
        rounding = torch.finfo(tensor.dtype).eps / 2
        allowed = 1.01 * rounding * exact.abs() + 1e-5 * exact.abs().max()
        if last and not large_group:  # torch's kernel, as in torch's layer
            allowed = allowed + 2 * torch.finfo(dtype).eps * exact.abs().max()
        assert ((tensor - exact).abs() <= allowed).all()


class Counter(TorchDispatchMode):
    """Counts operations but for views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(3,), (3, 4, 2)], ids=str)
def test_the_number_of_operations_does_not_grow_with_the_number_of_small_groups(shape):
    counts = []
    for samples in (8, 4096):
        layer, _ = pair(len(shape) + 1, 3, statistics_batch_size=2)
        with Counter() as counter:
            results(layer, images((samples, *shape), dtype=torch.float32), torch.ones(samples, *shape))
        counts.append(counter.count)
    assert counts[0] == counts[1]
