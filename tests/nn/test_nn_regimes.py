"""Each regime against its twin: torch's layer, a loop over groups, a window in plain autograd."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_twins import LAYERS, ROUNDING, WindowTwin, assert_groups_are_a_loop, assert_same, pair, results, twin_results

import bnlens.nn
from bnlens.nn._ghost import group_sizes
from bnlens.nn._window import window_weight

TOLERANCE = {torch.float32: ROUNDING, torch.float64: 1e-12}


@st.composite
def shapes(draw: st.DrawFn, *, least: int = 2) -> tuple[int, ...]:
    ndim = draw(st.integers(2, 5))
    pixels = [draw(st.integers(1, 4)) for _ in range(ndim - 2)]
    return (draw(st.integers(least, 12)), draw(st.integers(1, 5)), *pixels)


def sample(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, cotangent = torch.randn(2, *shape, dtype=torch.float64, generator=generator).to(dtype)
    return 2 * x + 0.5, cotangent


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(
    shape=shapes(),
    given_size=st.booleans(),
    momentum=st.sampled_from([0.1, 0.7, None]),
    affine=st.booleans(),
    track=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_at_the_batch_size_it_is_torchs(dtype, shape, given_size, momentum, affine, track, seed):
    torch.manual_seed(seed)
    M = shape[0] if given_size else None
    options = {"dtype": dtype, "momentum": momentum, "affine": affine, "track_running_stats": track}
    ours, torchs = pair(len(shape), shape[1], statistics_batch_size=M, **options)
    for step in range(2):
        x, cotangent = sample(shape, dtype, seed + step)
        expected = results(torchs, x, cotangent)
        assert_same(results(ours, x, cotangent), expected, TOLERANCE[dtype])


@given(samples=st.integers(2, 300), M=st.integers(2, 300))
def test_groups_are_balanced(samples, M):
    sizes = group_sizes(samples, M)
    assert sum(sizes) == samples
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    # the mean noise k / samples is the nearest to 1 / M that whole groups of two or more allow
    allowed = [k / samples for k in range(1, samples // 2 + 1)]
    assert abs(len(sizes) / samples - 1 / M) == pytest.approx(min(abs(k - 1 / M) for k in allowed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(shape=shapes(least=4), M=st.integers(2, 6), affine=st.booleans(), seed=st.integers(0, 1000))
def test_ghost_groups_equal_a_loop(dtype, shape, M, affine, seed):
    M = min(M, shape[0] - 1)
    torch.manual_seed(seed)
    ours, torchs = pair(len(shape), shape[1], dtype=dtype, statistics_batch_size=M, affine=affine)
    x, cotangent = sample(shape, dtype, seed)
    assert_groups_are_a_loop(ours, torchs, x, cotangent, 4 * TOLERANCE[dtype])


def test_gradients_of_ghost_groups_to_second_order():
    torch.manual_seed(0)
    layer = bnlens.nn.BatchNorm2d(2, statistics_batch_size=3, track_running_stats=False, dtype=torch.float64)
    x = torch.randn(7, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(2, 2, dtype=torch.float64).requires_grad_()

    def forward(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(forward, (x, weight, bias))
    assert torch.autograd.gradgradcheck(forward, (x, weight, bias))


@pytest.mark.parametrize("M", [8, 64, math.inf])
@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_window_equals_plain_autograd(ndim, M):
    torch.manual_seed(ndim)
    layer, _ = pair(ndim, 3, dtype=torch.float64, statistics_batch_size=M)
    twin = WindowTwin()
    with pytest.warns(UserWarning, match="below 64/4") if M == 64 else torch.no_grad():
        pass_through = layer(torch.full((4, 3) + (2,) * (ndim - 2), torch.nan, dtype=torch.float64))  # leaves no trace
    assert pass_through.isnan().all()
    for samples in (4, 7, 2, 6):
        shape = (samples, 3) + (2,) * (ndim - 2)
        x, cotangent = sample(shape, torch.float64, samples)
        found = results(layer, x, cotangent)
        by_window = partial(twin, eps=layer.eps, a=window_weight(samples, M))
        expected = twin_results(by_window, x, cotangent, layer.weight, layer.bias)
        torch.testing.assert_close(layer.window[2], torch.full((3,), twin.seen, dtype=torch.float64))
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


def test_gradients_of_the_window_to_second_order():
    """A gradient penalty through the layer: r and d stay constants, the normalisation by the batch does not."""
    layer, _ = pair(4, 2, dtype=torch.float64, statistics_batch_size=8)
    twin = WindowTwin()
    penalties = []
    for seed in range(2):
        x, cotangent = sample((5, 2, 2, 1), torch.float64, seed)
        for forward in (layer, lambda x: twin(x, layer.weight, layer.bias, layer.eps, window_weight(5, 8))):
            leaf = x.clone().requires_grad_()
            (first,) = torch.autograd.grad((forward(leaf) * cotangent).sum(), leaf, create_graph=True)
            penalties.append(torch.autograd.grad(first.square().sum(), (leaf, layer.weight)))
    for found, expected in (penalties[:2], penalties[2:]):
        torch.testing.assert_close(found, expected)


def test_a_window_of_one_batch_is_torchs():
    ours, torchs = pair(4, 3, statistics_batch_size=16)
    x, cotangent = sample((8, 3, 4, 4), torch.float32, 0)
    assert_same(results(ours, x, cotangent), results(torchs, x, cotangent), ROUNDING)


def test_a_full_batch_replaces_the_window():
    layer = bnlens.nn.BatchNorm1d(2, statistics_batch_size=4, dtype=torch.float64)
    layer(10 + torch.randn(3, 2, dtype=torch.float64))
    x = torch.randn(9, 2, dtype=torch.float64)
    layer(x)
    torch.testing.assert_close(layer.window[0], x.mean(0))
    torch.testing.assert_close(layer.window[1], x.var(0, correction=0))
    assert layer.window_samples == pytest.approx(9)


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
@pytest.mark.parametrize("M", [2, 8, 64, math.inf])
def test_running_statistics_are_torchs_in_every_regime(ndim, M):
    ours, torchs = pair(ndim, 3, dtype=torch.float64, statistics_batch_size=M, momentum=0.3)
    assert isinstance(ours, LAYERS[ndim])
    for samples in (20, 17):
        x, _ = sample((samples, 3) + (2,) * (ndim - 2), torch.float64, samples)
        ours(x)
        torchs(x)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(ours.state_dict()[name], torchs.state_dict()[name], rtol=1e-12, atol=1e-12)
