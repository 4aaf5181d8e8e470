"""The fast paths for NCHW inputs on a CPU, against autograd in float64 and against the kernels they stand in for."""

import copy
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_twins import WindowTwin, assert_groups_are_a_loop, assert_same, ghost_twin, pair, results, twin_results

from bnlens.nn import _cpu
from bnlens.nn._cpu import group_moments, has_fast_groups
from bnlens.nn._ghost import group_sizes
from bnlens.nn._statistics import batch_statistics
from bnlens.nn._window import window_weight

PIXELS = {3: (40,), 4: (8, 6), 5: (4, 3, 5)}
TOLERANCE = {torch.float32: 4e-6, torch.float64: 1e-12}


def images(shape: tuple[int, ...], *, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + 2 * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype)


def exact_moments(x: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [part.double().transpose(0, 1).flatten(1) for part in x.split(sizes)]
    return torch.stack([part.mean(1) for part in parts]), torch.stack([part.var(1, correction=0) for part in parts])


def test_takes_what_it_is_faster_for():
    x = torch.zeros(4, 20, 8, 8)
    assert has_fast_groups(x)
    assert has_fast_groups(x.double())
    assert not has_fast_groups(x.bfloat16())
    assert not has_fast_groups(x.to(memory_format=torch.channels_last))
    assert not has_fast_groups(x[..., :3, :3].contiguous())  # few pixels
    assert not has_fast_groups(x[:, :, :, 0, None].squeeze(-1))  # a view with gaps
    assert not has_fast_groups(x.to("meta"))


@given(
    samples=st.integers(2, 9),
    channels=st.integers(1, 4),
    M=st.integers(2, 9),
    ndim=st.sampled_from([3, 4, 5]),
    values_at_once=st.sampled_from([1, 100, 1 << 18]),
    seed=st.integers(0, 1000),
)
def test_moments_are_exact_however_groups_and_parts_fall(samples, channels, M, ndim, values_at_once, seed):
    sizes = group_sizes(samples, M)
    x = images((samples, channels, *PIXELS[ndim]), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cpu, "_VALUES_AT_ONCE", values_at_once)
        found = group_moments(x, sizes)
    torch.testing.assert_close(found, exact_moments(x, sizes), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e3, -1e5])
def test_moments_lose_no_more_to_a_large_mean_than_float32_inputs_do(offset):
    x = (offset + images((16, 3, 16, 16))).float()
    mean, variance = group_moments(x, [5, 5, 6])
    exact_mean, exact_variance = exact_moments(x, [5, 5, 6])
    # such inputs resolve (x - mean) / sigma to this
    resolution = (1 + exact_mean.abs() / exact_variance.sqrt()) * torch.finfo(torch.float32).eps
    assert ((mean - exact_mean).abs() / exact_variance.sqrt() < resolution).all()
    assert ((variance / exact_variance - 1).abs() < resolution).all()


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-30, -1e15])
def test_a_constant_channel_has_no_variance(value):
    mean, variance = group_moments(torch.full((4, 2, 8, 8), value), [2, 2])
    torch.testing.assert_close(mean, torch.full((2, 2), value))
    assert (variance == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("ndim", [3, 4, 5])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("samples", "M"), [(12, 4), (11, 3), (9, 2)])
def test_ghost_groups_equal_a_loop(dtype, ndim, affine, samples, M):
    torch.manual_seed(ndim)
    layer, torchs = pair(ndim, 3, dtype=dtype, statistics_batch_size=M, affine=affine)
    x, cotangent = (images((samples, 3, *PIXELS[ndim]), dtype=dtype, seed=seed) for seed in range(2))
    assert has_fast_groups(x)
    assert_groups_are_a_loop(layer, torchs, x, cotangent, TOLERANCE[dtype])


@pytest.mark.parametrize("ndim", [3, 4, 5])
@pytest.mark.parametrize("M", [16, math.inf])
def test_the_window_equals_plain_autograd(ndim, M):
    torch.manual_seed(ndim)
    layer, _ = pair(ndim, 3, dtype=torch.float64, statistics_batch_size=M)
    twin = WindowTwin()
    for samples in (4, 7, 5):
        x, cotangent = (images((samples, 3, *PIXELS[ndim]), seed=samples + seed) for seed in range(2))
        found = results(layer, x, cotangent)
        by_window = partial(twin, eps=layer.eps, a=window_weight(samples, M))
        expected = twin_results(by_window, x, cotangent, layer.weight, layer.bias)
        assert_same({name: found[name] for name in expected}, expected, 1e-12)


@pytest.mark.parametrize("M", [3, 16])
def test_a_gradient_in_any_layout_is_taken(M):
    """That of a sum is one number, expanded; after a permutation it is laid out channels last."""
    torch.manual_seed(0)
    layer, _ = pair(4, 3, dtype=torch.float64, statistics_batch_size=M)
    x, cotangent = (images((8, 3, 8, 8), seed=seed) for seed in range(2))
    expanded = torch.ones(1, dtype=torch.float64).expand(x.shape)
    for given_one in (expanded, cotangent.to(memory_format=torch.channels_last)):
        other = copy.deepcopy(layer)
        assert_same(results(layer, x, given_one), results(other, x, given_one.contiguous()), 1e-12)


def test_gradients_of_ghost_groups_to_second_order():
    torch.manual_seed(0)
    layer, _ = pair(3, 2, dtype=torch.float64, statistics_batch_size=2)
    x, cotangent = (images((5, 2, 32), seed=seed) for seed in range(2))
    penalties = []
    for forward in (layer, lambda x: ghost_twin(x, layer.weight, layer.bias, layer.eps, [3, 2])):
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad((forward(leaf) * cotangent).sum(), leaf, create_graph=True)
        penalties.append(torch.autograd.grad(first.square().sum(), (leaf, layer.weight)))
    torch.testing.assert_close(*penalties)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch does, on the first dual tensor
def test_forward_mode_tangents_do_not_reach_the_statistics():
    x = images((4, 2, 8, 8))
    with torch.autograd.forward_ad.dual_level():
        batch = batch_statistics(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
        assert torch.autograd.forward_ad.unpack_dual(batch.variance).tangent is None
    torch.testing.assert_close((batch.mean, batch.variance), tuple(t[0] for t in exact_moments(x, [4])))
