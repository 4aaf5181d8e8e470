"""Inputs and gradients in any memory layout give what contiguous ones give: in every regime, by every way in."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_twins import LAYERS, TORCH_LAYERS, assert_same, ghost_twin
from torch import Tensor, nn

import bnlens
from bnlens.nn._ghost import group_sizes
from gloo_pool import GlooPool

REGIMES = [None, 3, 20, math.inf]  # for batches of 5 to 9: torch's, ghost groups, window, population
EXACT = 1e-10  # relative to the largest value; a channel without variance is divided by the root of epsilon


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    """From a seed to a view of this shape: dimensions in any order in memory, cut out by steps, or one of them repeated."""
    order = draw(st.permutations(range(len(shape))))
    repeated = draw(st.one_of(st.none(), st.none(), st.integers(0, len(shape) - 1)))
    starts, steps = ([draw(st.integers(least, 2)) for _ in shape] for least in (0, 1))

    def view(seed: int) -> Tensor:
        ends = [
            1 if d == repeated else start + size * step
            for d, (size, start, step) in enumerate(zip(shape, starts, steps, strict=True))
        ]
        generator = torch.Generator().manual_seed(seed)
        base = 1 + 2 * torch.randn([ends[d] for d in order], dtype=torch.float64, generator=generator)
        x = base.permute([order.index(d) for d in range(len(shape))])
        cut = [
            slice(None) if d == repeated else slice(start, end, step)
            for d, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True))
        ]
        return x[tuple(cut)].expand(shape)

    return view


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Two inputs and a gradient, each of few pixels or of many."""
    pixels = draw(st.sampled_from([(), (1,), (3,), (40,), (2, 3), (8, 5), (2, 1, 3), (4, 3, 3)]))
    shape = (draw(st.integers(5, 9)), draw(st.integers(1, 4)), *pixels)
    seed = draw(st.integers(0, 1000))
    first, x, cotangent = (draw(layouts(shape))(seed + i) for i in range(3))
    return first, x, cotangent


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.transpose(1, -1).contiguous().transpose(1, -1),
    "every second sample": lambda x: x.repeat_interleave(2, 0)[::2],
    "a slice of channels": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "one sample repeated": lambda x: x[:1].expand(x.shape),
    "one channel repeated": lambda x: x[:, :1].expand(x.shape),
}


def layer_of(x: Tensor, M: float | None, **kwargs: object) -> nn.Module:
    layer = LAYERS[x.ndim](x.shape[1], dtype=x.dtype, statistics_batch_size=M, **kwargs)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def passes(layer: nn.Module, x: Tensor, cotangent: Tensor, *, twice: bool) -> dict[str, Tensor]:
    """Output, gradients and buffers of a pass; ``twice``: and the gradient of a penalty on the gradient."""
    leaf = x.detach().requires_grad_()
    y = layer(leaf)
    inputs = {"input": leaf, **dict(layer.named_parameters())}
    first = torch.autograd.grad(y, tuple(inputs.values()), cotangent, retain_graph=True)
    found = {"output": y.detach(), **dict(zip(inputs, first, strict=True))}
    if twice:
        (dx,) = torch.autograd.grad(y, leaf, cotangent, create_graph=True)
        (found["penalty"],) = torch.autograd.grad(dx.square().sum(), leaf)
    return found | {f"buffer {name}": value.clone() for name, value in layer.named_buffers()}


@pytest.mark.parametrize("M", REGIMES)
@settings(max_examples=40)
@given(case=cases())
def test_any_layout_gives_what_contiguous_tensors_give(M, case):
    first, x, cotangent = case
    layer = layer_of(x, M)
    other = copy.deepcopy(layer)
    layer(first)
    other(first.contiguous())
    twice = bool(
        (x.var([d for d in range(x.ndim) if d != 1]) > 0).all()
    )  # else rounding is divided by powers of epsilon
    found = passes(layer, x, cotangent, twice=twice)
    assert_same(found, passes(other, x.contiguous(), cotangent.contiguous(), twice=twice), EXACT)
    for each in (layer, other):
        each.eval()
    assert_same({"eval": layer(x).detach()}, {"eval": other(x.contiguous()).detach()}, EXACT)


@given(case=cases())
def test_ghost_groups_are_a_loop_over_groups(case):
    """Against torch's own function in float64, since the layer's contiguous paths could be wrong alike."""
    _, x, cotangent = case
    layer = layer_of(x, 3)
    found = passes(layer, x, cotangent, twice=False)
    leaf = x.detach().contiguous().requires_grad_()
    y = ghost_twin(leaf, layer.weight, layer.bias, layer.eps, group_sizes(len(x), 3))
    dx, dweight, dbias = torch.autograd.grad(y, (leaf, layer.weight, layer.bias), cotangent)
    expected = {"output": y.detach(), "input": dx, "weight": dweight, "bias": dbias}
    dims = [d for d in range(x.ndim) if d != 1]
    expected["buffer running_mean"] = 0.1 * x.mean(dims)
    expected["buffer running_var"] = 0.9 + 0.1 * x.var(dims)
    assert_same({name: found[name] for name in expected}, expected, EXACT)


def strides_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Strides of contiguous tensors and of those with channels last, with any number where a size is 1."""
    plain = torch.empty(shape)
    found = [plain.stride(), plain.movedim(1, -1).contiguous().movedim(-1, 1).stride()]
    for d in (d for d, size in enumerate(shape) if size == 1):
        found += [(*strides[:d], step, *strides[d + 1 :]) for strides in found for step in (1, 60, 1000)]
    return found


def by_running_statistics(layer: nn.Module) -> nn.Module:
    bnlens.freeze(layer)
    return layer


WAYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "called": lambda layer, x: layer(x),
    "masked": lambda layer, x: layer(x, mask=torch.ones(len(x), dtype=torch.bool)),
    "frozen": lambda layer, x: by_running_statistics(layer)(x),
    "evaluated": lambda layer, x: layer.eval()(x),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("M", [None, math.inf])  # where torch's kernel finds the gradient
@pytest.mark.parametrize("shape", [(4, 5, 12, 1), (4, 5, 1, 12), (1, 5, 3, 4), (4, 5, 3, 2, 1)], ids=str)
def test_strides_of_sizes_that_are_1_do_not_matter(shape, M, way):
    """Not so for torch's own layer, where ``y.squeeze(-1).transpose(1, 2)`` is given a contiguous gradient, say."""
    x, cotangent = torch.randn(2, *shape, dtype=torch.float64)
    gradients = []
    for strides in strides_of(shape):
        for of_gradient in strides_of(shape):
            leaf, dy = (
                torch.empty_strided(shape, each, dtype=x.dtype).copy_(t)
                for t, each in ((x, strides), (cotangent, of_gradient))
            )
            y = WAYS[way](layer_of(x, M), leaf.requires_grad_())
            gradients.append(torch.autograd.grad(y, leaf, dy)[0])
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=EXACT)
    leaf, layer = x.clone().requires_grad_(), layer_of(x, M)
    dims, per_channel = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    variance, mean = torch.var_mean(leaf, dims, correction=0, keepdim=True)
    if way in ("frozen", "evaluated"):
        mean, variance = torch.zeros_like(mean), torch.ones_like(variance)
    y = (leaf - mean) / (variance + layer.eps).sqrt() * layer.weight.view(per_channel)
    torch.testing.assert_close(gradients[0], torch.autograd.grad(y, leaf, cotangent)[0], rtol=0, atol=EXACT)


@settings(max_examples=40)
@given(case=cases())
def test_shared_statistics_too(case):
    _, x, cotangent = case
    layer = layer_of(x, 20)
    other = copy.deepcopy(layer)
    found = []
    for each, given_one, dy in ((layer, x, cotangent), (other, x.contiguous(), cotangent.contiguous())):
        with bnlens.shared_statistics(each, given_one):
            found.append(
                [passes(each, part, g, twice=False) for part, g in zip(given_one.split(3), dy.split(3), strict=True)]
            )
    for one, same in zip(*found, strict=True):
        assert_same(one, same, EXACT)


def on_a_rank(job: tuple[nn.Module, Tensor, Tensor]) -> dict[str, Tensor]:
    """Runs on each rank."""
    layer, x, cotangent = job
    leaf = x.detach().requires_grad_()
    y = layer(leaf)
    (dx,) = torch.autograd.grad(y, leaf, cotangent)
    return {"output": y.detach(), "input": dx, "mean": layer.running_mean, "variance": layer.running_var}


@pytest.mark.parametrize("M", [None, 2, 4, 20])  # of 8: torch's, groups within ranks, groups across them, a window
@pytest.mark.parametrize("layout", LAYOUTS)
def test_over_ranks_too(gloo_pool: GlooPool, layout, M):
    shape = (8, 3, 40)
    x, cotangent = (LAYOUTS[layout](t) for t in torch.randn(2, *shape, dtype=torch.float64) + 1)
    layer = layer_of(x, M, sync=True)
    found, expected = (
        gloo_pool.run(on_a_rank, [(layer, *(t[cut] for t in given_ones)) for cut in (slice(0, 3), slice(3, 8))])
        for given_ones in ((x, cotangent), (x.contiguous(), cotangent.contiguous()))
    )
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, EXACT)
    torch.testing.assert_close(found[0]["mean"], 0.1 * x.mean((0, 2)))


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo does
def test_compiled_too(layout, M):
    torch._dynamo.reset()
    x, cotangent = (LAYOUTS[layout](t) for t in torch.randn(2, 7, 3, 8, 6, dtype=torch.float64) + 1)
    layer = layer_of(x, M)
    other = copy.deepcopy(layer)
    layer.compile(fullgraph=True, backend="aot_eager")
    results = []
    for each, given_one, dy in ((layer, x, cotangent), (other, x.contiguous(), cotangent.contiguous())):
        leaf = given_one.detach().requires_grad_()
        y = each(leaf)
        (dx,) = torch.autograd.grad(y, leaf, dy)
        results.append({"output": y.detach(), "input": dx, "mean": each.running_mean, "variance": each.running_var})
    assert_same(*results, EXACT)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_functional_calls_too(layout, M):
    x, cotangent = (LAYOUTS[layout](t) for t in torch.randn(2, 7, 3, 40, dtype=torch.float64) + 1)
    layer = layer_of(x, M)

    def gradient(x: Tensor, cotangent: Tensor) -> Tensor:
        state = {name: value.detach().clone() for name, value in [*layer.named_parameters(), *layer.named_buffers()]}
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(torch.func.functional_call(layer, state, leaf), leaf, cotangent)[0]

    found, expected = gradient(x, cotangent), gradient(x.contiguous(), cotangent.contiguous())
    assert_same({"input": found}, {"input": expected}, EXACT)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_vmap_in_eval_mode_too(layout, M):
    x = torch.stack([LAYOUTS[layout](t) for t in torch.randn(3, 7, 3, 40, dtype=torch.float64)], -1)
    layer = layer_of(x[..., 0], M).eval()
    found = torch.vmap(layer, in_dims=-1)(x)
    expected = torch.stack([layer(each.contiguous()) for each in x.unbind(-1)])
    assert_same({"output": found.detach()}, {"output": expected.detach()}, EXACT)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 2, 2), (7, 3, 8, 6)], ids=str)
def test_narrower_types_too(layout, M, dtype, shape):
    x, cotangent = (LAYOUTS[layout](t).to(dtype) for t in torch.randn(2, *shape, dtype=torch.float64) + 1)
    layer = layer_of(x.float(), M)
    other = copy.deepcopy(layer).double()
    found = []
    for each, given_one, dy in ((layer, x, cotangent), (other, *(t.contiguous().double() for t in (x, cotangent)))):
        leaf = given_one.detach().requires_grad_()
        y = each(leaf)
        (dx,) = torch.autograd.grad(y, leaf, dy)
        kept = {"output": y.detach(), "input": dx, "mean": each.running_mean, "variance": each.running_var}
        found.append({name: value.double() for name, value in kept.items()})
    assert_same(*found, 4 * torch.finfo(dtype).eps if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 40), (8, 3, 2, 3), (8, 3, 8, 6), (8, 3, 4, 3, 3)], ids=str)
def test_outputs_and_gradients_are_laid_out_as_torchs(M, shape):
    x = torch.randn(shape)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    inputs = [x, *([x.contiguous(memory_format=formats[x.ndim])] if x.ndim in formats else [])]
    layer, torchs = layer_of(x, M), TORCH_LAYERS[x.ndim](3)
    for given_one in inputs:
        strides = []
        for each in (layer, torchs):
            leaf = given_one.detach().requires_grad_()
            y = each(leaf)
            y.square().sum().backward()
            strides.append((y.stride(), leaf.grad.stride()))
        assert strides[0] == strides[1]
