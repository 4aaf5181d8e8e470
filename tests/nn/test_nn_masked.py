"""Masked layers against a plain computation on the valid values of each group."""

import copy
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_twins import LAYERS, WindowTwin, assert_same
from sync_ranks import STATISTICS, layer_of
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnlens
import bnlens.nn
from bnlens.errors import UsageError
from bnlens.nn._ghost import group_sizes
from gloo_pool import GlooPool

TRACKED = ("running_mean", "running_var", "num_batches_tracked")
SHAPES = [(11, 3), (11, 3, 6), (11, 3, 4, 2), (11, 3, 2, 2, 3)]


def sample(shape: Sequence[int], seed: int = 0, empty: Sequence[int] = (0, 4)) -> tuple[Tensor, Tensor, Tensor]:
    """Input, cotangent and mask (N, ...), of which the samples ``empty`` have no valid value and all others one at least."""
    generator = torch.Generator().manual_seed(seed)
    x, cotangent = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    mask = torch.rand(shape[0], *shape[2:], generator=generator) < 0.6
    mask.view(len(mask), -1)[:, 0] = True
    mask[list(empty)] = False
    return 2 * x + 0.5 + x.square(), cotangent, mask


def values_of(x: Tensor, mask: Tensor) -> Tensor:
    """The valid values, (values, C)."""
    return torch.cat([one.reshape(len(one), -1).T[own.flatten()] for one, own in zip(x, mask, strict=True)])


def groups_of(mask: Tensor, sizes: Sequence[int]) -> list[list[int]]:
    """Samples of groups of so many that have a valid value; one without is with the sample before it."""
    counts, groups = mask.flatten(1).any(1) if mask.ndim > 1 else mask, [[] for _ in sizes]
    ends = torch.tensor(sizes).cumsum(0).tolist()
    for i in range(len(mask)):
        place = max(int(counts[: i + 1].sum()) - 1, 0)
        groups[next(group for group, end in enumerate(ends) if place < end)].append(i)
    return groups


def twin(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: Sequence[int]) -> Tensor:
    outputs = {}
    for group in groups_of(mask, sizes):
        values = values_of(x[group], mask[group])
        mean, std = values.mean(0), (values.var(0, correction=0) + eps).sqrt()
        for i in group:
            flat = x[i].reshape(len(mean), -1)
            y = (flat - mean[:, None]) / std[:, None] * weight[:, None] + bias[:, None]
            outputs[i] = y.view(x[i].shape)
    return torch.stack([outputs[i] for i in range(len(x))])


class MaskedWindowTwin(WindowTwin):
    """That of the valid values, as the window sees them: padding is normalised by it, too."""

    def __call__(self, x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float, a: float) -> Tensor:
        values = values_of(x, mask)
        gamma, beta = torch.ones_like(weight), torch.zeros_like(bias)
        super().__call__(values.detach(), gamma, beta, eps, a)
        mu = self.first / self.seen
        sigma = (self.second / self.seen - mu * mu + eps).sqrt()
        mean, std = values.mean(0), (values.var(0, correction=0) + eps).sqrt()
        r, d = (std / sigma).detach(), ((mean - mu) / sigma).detach()
        flat = x.reshape(*x.shape[:2], -1)
        xhat = (flat - mean[:, None]) / std[:, None]
        return ((weight * r)[:, None] * xhat + (weight * d + bias)[:, None]).view(x.shape)


def layer_and_leaves(ndim: int, M: float | None, x: Tensor, **kwargs) -> tuple[nn.Module, list[Tensor]]:
    layer = LAYERS[ndim](3, statistics_batch_size=M, dtype=torch.float64, **kwargs)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer, [t.detach().clone().requires_grad_() for t in (x, layer.weight, layer.bias)]


def step(layer: nn.Module, x: Tensor, cotangent: Tensor, mask: Tensor) -> dict[str, Tensor]:
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y = layer(x, mask=mask)
    y.backward(cotangent)
    return {"output": y.detach(), "x": x.grad, "gamma": layer.weight.grad.clone(), "beta": layer.bias.grad.clone()}


def twin_step(y: Tensor, leaves: list[Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    return dict(
        zip(("output", "x", "gamma", "beta"), (y.detach(), *torch.autograd.grad(y, leaves, cotangent)), strict=True)
    )


def assert_tracked(layer: nn.Module, batches: Sequence[Tensor]) -> None:
    """Running statistics are those of torch's layer on the valid values alone, (values, C)."""
    plain = nn.BatchNorm1d(3, momentum=layer.momentum, dtype=torch.float64)
    for values in batches:
        plain(values)
    assert_same(*({name: getattr(one, name) for name in TRACKED} for one in (layer, plain)), 1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("M", [None, 2, 4, 9])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_groups_have_the_statistics_of_their_valid_values(shape, M, momentum):
    torch.manual_seed(0)
    x, _, _ = sample(shape)
    layer, (_, weight, bias) = layer_and_leaves(len(shape), M, x, momentum=momentum)
    seen = []
    for seed in range(3):
        x, cotangent, mask = sample(shape, seed)
        leaf = x.clone().requires_grad_()
        sizes = [9] if M is None else group_sizes(9, M)  # two of the eleven have no valid value
        y = twin(leaf, mask, weight, bias, layer.eps, sizes)
        assert_same(step(layer, x, cotangent, mask), twin_step(y, [leaf, weight, bias], cotangent), 1e-12)
        seen.append(values_of(x, mask))
    assert_tracked(layer, seen)
    if M is not None:
        assert layer.window_samples == pytest.approx(9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("M", [10, 30, math.inf])
def test_windows_are_over_valid_values(shape, M):
    torch.manual_seed(0)
    layer, (_, weight, bias) = layer_and_leaves(len(shape), M, torch.zeros(shape))
    layer.announce_batch(11, 11)
    by_hand, seen = MaskedWindowTwin(), []
    for seed in range(3):
        x, cotangent, mask = sample(shape, seed)
        leaf = x.clone().requires_grad_()
        a = 2 * 9 / (min(M, 128) + 9)
        y = by_hand(leaf, mask, weight, bias, layer.eps, a)
        assert_same(step(layer, x, cotangent, mask), twin_step(y, [leaf, weight, bias], cotangent), 1e-11)
        seen.append(values_of(x, mask))
    assert_tracked(layer, seen)


@given(
    lengths=st.lists(st.integers(0, 5), min_size=3, max_size=9).filter(lambda found: sum(n > 0 for n in found) > 1),
    M=st.sampled_from([None, 2, 3, 100]),
    seed=st.integers(0, 100),
)
def test_padding_changes_nothing_and_is_not_read(lengths, M, seed):
    """Whatever stands there, and any padding more; not even NaN reaches the statistics or a valid output."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), 3, 5, dtype=torch.float64, generator=generator)
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    layer = bnlens.nn.BatchNorm1d(3, statistics_batch_size=M, dtype=torch.float64)
    layer.announce_batch(100, 100)
    found = []
    for filling, more in ((0.0, 0), (1e6, 3), (math.nan, 1)):
        own = copy.deepcopy(layer)
        padded = nn.functional.pad(x.masked_fill(~mask[:, None], filling), (0, more), value=filling)
        leaf = padded.requires_grad_()
        y = own(leaf, mask=torch.tensor(lengths))
        y[..., :5].masked_fill(~mask[:, None], 0).pow(3).sum().backward()
        valid = [tensor[..., :5].masked_fill(~mask[:, None], 0) for tensor in (y.detach(), leaf.grad)]
        found.append(dict(enumerate([*valid, own.running_mean, own.running_var])))
    assert_same(found[1], found[0], 1e-12)
    assert_same(*({name: one[name] for name in (0, 2, 3)} for one in (found[2], found[0])), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("M", [None, 3, 20])
def test_where_all_is_valid_it_is_the_layer_without_a_mask(dtype, M):
    x = sample((12, 3, 4, 2))[0].to(dtype).to(memory_format=torch.channels_last)
    layers = [bnlens.nn.BatchNorm2d(3, statistics_batch_size=M) for _ in range(2)]
    layers[0].announce_batch(12, 12)
    y, plain = layers[0](x, mask=torch.ones(12, 4, 2)), layers[1](x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    names = ("running_mean", "running_var", *([] if M is None else ["window"]))
    torch.testing.assert_close(y, plain)
    assert_same(*({name: getattr(layer, name) for name in names} for layer in layers), 1e-5)


@pytest.mark.parametrize("M", [None, 2])
def test_gradients_are_the_derivative_and_have_derivatives(M):
    x, _, mask = sample((5, 3, 3), empty=(2,))
    layer, leaves = layer_and_leaves(3, M, x)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x, mask))

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("size", [12, 5, 3])
def test_shared_statistics(size):
    """Outputs and running statistics are BN's over all samples; the gradient too, given the responses of the others."""
    x, cotangent, mask = sample((12, 3, 5))
    layer, leaves = layer_and_leaves(3, None, x)
    expected = twin_step(twin(leaves[0], mask, *leaves[1:], layer.eps, [12]), leaves, cotangent)
    xhat = (expected["output"] - layer.bias.view(-1, 1)) / layer.weight.view(-1, 1)
    # sums over each sample of dy and of dy xhat, (12, 2, 3), at padding too, and the valid values of each sample
    terms, counts = torch.stack([cotangent.sum(2), (cotangent * xhat).sum(2)], 1).detach(), mask.sum(1).double()
    parts, outputs = [part.clone().requires_grad_() for part in x.split(size)], []
    with bnlens.masked(layer, mask), bnlens.shared_statistics(layer, x):
        for part, places in zip(parts, torch.arange(12).split(size), strict=True):
            if len(later := torch.arange(int(places[-1]) + 1, 12)):
                layer._scope.shared.means.guess = terms[later].sum(0) / counts[later].sum()
            y = layer(part, mask=mask[places])
            y.backward(cotangent[places])
            outputs.append(y.detach())
    found = {
        "output": torch.cat(outputs),
        "x": torch.cat([part.grad for part in parts]),
        "gamma": layer.weight.grad,
        "beta": layer.bias.grad,
    }
    assert_same(found, expected, 1e-12)
    assert_tracked(layer, [values_of(x, mask)])


def masked_steps(job) -> list[dict[str, Tensor]]:
    layer, given = job
    found = []
    for x, cotangent, mask in given:
        own = step(layer, x, cotangent, mask)
        state = {name: getattr(layer, name) for name in STATISTICS}
        found.append(own | {name: torch.zeros(()) if value is None else value.clone() for name, value in state.items()})
    return found


@pytest.mark.parametrize("M", [None, 2, 3, 30, math.inf])
@pytest.mark.parametrize(
    ("counts", "shape"), [*itertools.product([(6, 5), (1, 10)], SHAPES[:3:2]), ((0, 11), SHAPES[2])], ids=str
)
def test_ranks_together_are_one_process(gloo_pool: GlooPool, counts, M, shape):
    """In all of (1, 10) the first rank has no valid value."""
    given = [sample(shape, seed) for seed in range(3)]
    layer = layer_of(len(shape), M, dtype=torch.float64, sync=True)
    layer.announce_batch(100, 100)
    alone = copy.deepcopy(layer)
    alone.sync = False
    shares = [
        list(rank)
        for rank in zip(*(list(zip(*(t.split(counts) for t in one), strict=True)) for one in given), strict=True)
    ]
    ranks = gloo_pool.run(masked_steps, [(layer, share) for share in shares])
    expected = masked_steps((alone, given))
    for of_ranks, one in zip(zip(*ranks, strict=True), expected, strict=True):
        together = {name: torch.cat([rank[name] for rank in of_ranks]) for name in ("output", "x")}
        together |= {name: sum(rank[name] for rank in of_ranks) for name in ("gamma", "beta")}
        for name in STATISTICS:
            assert all(torch.equal(rank[name], of_ranks[0][name]) for rank in of_ranks)
            together[name] = of_ranks[0][name]
        assert_same(together, one, 1e-12)


def other_sizes(rank_and_layer) -> str:
    try:
        masked_steps((rank_and_layer, [sample((4, 3), empty=())]))
    except UsageError as error:
        return str(error)
    return ""


def test_ranks_must_agree_on_the_size(gloo_pool: GlooPool):
    layers = [layer_of(2, M, dtype=torch.float64, sync=True) for M in (4, None)]
    assert all("4, None" in text for text in gloo_pool.run(other_sizes, layers))


def test_eval_mode_is_torchs_whatever_the_mask():
    x, _, mask = sample((6, 3, 4))
    ours, torchs = bnlens.nn.BatchNorm1d(3, dtype=torch.float64), nn.BatchNorm1d(3, dtype=torch.float64)
    for layer in (ours, torchs):
        layer(x)
        layer.eval()
    assert torch.equal(ours(x, mask=mask), torchs(x))
    assert torch.equal(ours(x, mask=torch.ones(2)), torchs(x))  # not even looked at
    ours.train()
    bnlens.freeze(ours)
    before = ours.running_mean.clone()
    with bnlens.masked(ours, mask):
        assert torch.equal(ours(x), torchs(x))
    assert torch.equal(ours.running_mean, before)


def test_eval_mode_without_running_statistics_takes_those_of_valid_values():
    x, cotangent, mask = sample((6, 3, 4))
    layer, leaves = layer_and_leaves(3, 2, x, track_running_stats=False)
    layer.eval()
    expected = twin_step(twin(leaves[0], mask, *leaves[1:], layer.eps, [6]), leaves, cotangent)
    assert_same(step(layer, x, cotangent, mask), expected, 1e-12)
    assert layer.window_samples == 0


class Net(nn.Module):
    """Two convolutions that keep the length, one that halves it, pooling, and layers on samples and images."""

    def __init__(self, M: float | None = None) -> None:
        super().__init__()
        self.first, self.bn1 = nn.Conv1d(2, 3, 3, padding=1), bnlens.nn.BatchNorm1d(3, statistics_batch_size=M)
        self.second, self.bn2 = (
            nn.Conv1d(3, 3, 3, padding=1, stride=2),
            bnlens.nn.BatchNorm1d(3, statistics_batch_size=M),
        )
        self.bn3, self.last = bnlens.nn.BatchNorm1d(3, statistics_batch_size=M), nn.Linear(3, 2)

    def forward(self, x: Tensor, masks: Sequence[Tensor | None] = (None, None, None)) -> Tensor:
        h = torch.tanh(self.bn1(self.first(x), mask=masks[0]))
        h = torch.tanh(self.bn2(self.second(h), mask=masks[1]))
        return self.last(self.bn3(h.mean(2), mask=masks[2]))


LENGTHS = torch.tensor([8, 3, 0, 6, 5, 1])
MASKS = torch.arange(8) < LENGTHS[:, None], torch.arange(4) < (LENGTHS[:, None] + 1) // 2, LENGTHS > 0


@pytest.mark.parametrize(
    "given",
    [
        LENGTHS,
        LENGTHS.int(),
        MASKS[0],
        MASKS[0][:, None],
        MASKS[0].long(),
        MASKS[0].double(),
        lambda name, x: {"bn1": MASKS[0], "bn2": MASKS[1], "bn3": MASKS[2]}[name],
        lambda name, x: LENGTHS if x.ndim == 2 else (LENGTHS * x.shape[2] + 7) // 8,
    ],
    ids=["lengths", "int32", "mask", "with channel", "of ints", "of floats", "function", "function of lengths"],
)
@pytest.mark.parametrize("M", [None, 2])
def test_context(given, M):
    torch.manual_seed(0)
    nets = [Net(M).double()]
    nets.append(copy.deepcopy(nets[0]))
    x = torch.randn(6, 2, 8, dtype=torch.float64)
    with bnlens.masked(nets[0], given):
        y = nets[0](x)
    torch.testing.assert_close(y, nets[1](x, MASKS), rtol=0, atol=1e-12)
    assert_same(*(net.state_dict() for net in nets), 1e-12)
    assert not torch.allclose(
        nets[1].bn3(x.new_ones(6, 3).cumsum(0)), nets[1].bn3(x.new_ones(6, 3).cumsum(0), mask=MASKS[2])
    )
    torch.testing.assert_close(nets[0](x), copy.deepcopy(nets[0]).requires_grad_()(x))  # outside again


def test_layers_longer_than_the_mask_and_images():
    x, _, mask = sample((6, 3, 4, 2))
    small = torch.rand(6, 2, 1) < 0.7
    small[:, 0] = True
    layers = [bnlens.nn.BatchNorm2d(3, dtype=torch.float64) for _ in range(2)]
    with bnlens.masked(layers[0], small):
        y = layers[0](x)
    torch.testing.assert_close(y, layers[1](x, mask=small.repeat_interleave(2, 1).expand(-1, 4, 2)))
    with bnlens.masked(layers[0], mask):  # a pooled map: an image counts if any of its pixels does
        y = layers[0](x.mean((2, 3), keepdim=True))
    torch.testing.assert_close(y, layers[1](x.mean((2, 3), keepdim=True), mask=mask.flatten(1).any(1)))


def test_lengths_run_along_the_last_dimension():
    x = sample((6, 3, 4, 8))[0]
    layers = [bnlens.nn.BatchNorm2d(3, dtype=torch.float64) for _ in range(2)]
    with bnlens.masked(layers[0], LENGTHS):
        y = layers[0](x)
    torch.testing.assert_close(y, layers[1](x, mask=MASKS[0][:, None].expand(-1, 4, -1)))


def test_contexts_nest_and_end():
    layer = bnlens.nn.BatchNorm1d(3, dtype=torch.float64)
    x = sample((6, 3, 8))[0]
    alone = copy.deepcopy(layer)
    with bnlens.masked(layer, LENGTHS):
        with bnlens.masked(layer, LENGTHS + 2):
            inner = layer(x[:, :, :].repeat(1, 1, 2)[..., :10])
        outer, copied = layer(x), copy.deepcopy(layer)(x)
    torch.testing.assert_close(inner, alone(x.repeat(1, 1, 2)[..., :10], mask=LENGTHS + 2))
    torch.testing.assert_close(outer, alone(x, mask=LENGTHS))
    torch.testing.assert_close(copied, alone(x))
    torch.testing.assert_close(layer(x), alone(x))


def test_converted_subclasses_are_masked():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(super().forward(x))

    model = nn.Sequential(nn.Conv2d(2, 3, 1), WithActivation(3)).double()
    bnlens.convert(model)
    x, _, mask = sample((6, 2, 4, 2))
    plain = bnlens.nn.BatchNorm2d(3, dtype=torch.float64)
    with bnlens.masked(model, mask):
        torch.testing.assert_close(model(x), torch.relu(plain(model[0](x), mask=mask)))
    assert_same(*({name: getattr(layer, name) for name in TRACKED} for layer in (model[1], plain)), 1e-12)


@pytest.mark.parametrize("inside", [True, False])
def test_activation_checkpointing(inside):
    nets = [Net(20).double()]
    nets[0].bn1.announce_batch(20, 20)
    for layer in (nets[0].bn2, nets[0].bn3):
        layer.announce_batch(20, 20)
    nets.append(copy.deepcopy(nets[0]))
    x = torch.randn(6, 2, 8, dtype=torch.float64)
    if inside:
        with bnlens.masked(nets[0], LENGTHS):
            checkpoint(nets[0], x, use_reentrant=False).square().sum().backward()
    else:  # the model brings its masks
        checkpoint(nets[0], x, MASKS, use_reentrant=False).square().sum().backward()
    nets[1](x, MASKS).square().sum().backward()
    gradients = [{name: p.grad for name, p in net.named_parameters()} for net in nets]
    assert_same(*gradients, 1e-10)
    assert_same(*(net.state_dict() for net in nets), 1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo looks at it where the graph breaks
def test_compiled_models_break_the_graph_at_masked_layers_alone():
    net = Net().double()
    x = torch.randn(6, 2, 8, dtype=torch.float64)
    expected = copy.deepcopy(net)(x, MASKS)
    plain = copy.deepcopy(net)(x)
    compiled = torch.compile(net, backend="eager")
    with bnlens.masked(net, LENGTHS):
        torch.testing.assert_close(compiled(x), expected)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(copy.deepcopy(net), backend="eager", fullgraph=True)(x), plain)


def test_a_fixed_regime_counts_the_samples_with_a_valid_value():
    x, cotangent, mask = sample((11, 3, 6))
    layer, leaves = layer_and_leaves(3, 3, x, regime="ghost")
    expected = twin_step(twin(leaves[0], mask, *leaves[1:], layer.eps, [3, 3, 3]), leaves, cotangent)
    assert_same(step(layer, x, cotangent, mask), expected, 1e-12)
    layer.statistics_batch_size = 4
    with refused("a batch of 9 samples is not made of ghost groups of 4"):
        layer(x, mask=mask)


def refused(match: str):
    return pytest.raises(UsageError, match=match)


def test_masks_that_do_not_fit():
    layer, x = bnlens.nn.BatchNorm1d(3), torch.randn(6, 3, 9)
    before = copy.deepcopy(layer.state_dict())
    with refused(r"the layer has an input of 6 samples, shape \(6, 3, 9\), and the mask is of shape \(5, 9\)"):
        layer(x, mask=torch.ones(5, 9))
    with refused(r"does not fit; give \(N, ...\)"):
        layer(x, mask=torch.ones(6, 8))
    with refused(r"does not fit"):
        layer(x[..., :3], mask=torch.ones(6, 9))  # not brought to its size by itself
    with refused(r"does not fit"):
        layer(x, mask=torch.ones(6, 3, 9))  # a channel each
    with refused("other values than 0 and 1"):
        layer(x, mask=torch.full((6, 9), -math.inf))
    with refused("has 9 steps and a length is 10"):
        layer(x, mask=torch.tensor([1, 2, 3, 4, 5, 10]))
    with refused("a length is -1"):
        layer(x, mask=torch.tensor([1, 2, 3, 4, 5, -1]))
    with refused(r"got 0 valid values per channel in training"):
        layer(x, mask=torch.zeros(6, 9))
    with refused(r"got 1 valid values"):
        layer(x, mask=torch.tensor([0, 0, 1, 0, 0, 0]))
    assert_same(layer.state_dict(), before, 0)
    assert layer(x[:0], mask=torch.ones(0, 9)).shape == (0, 3, 9)


def test_contexts_that_do_not_fit():
    net = nn.Sequential(nn.Conv1d(2, 3, 3), bnlens.nn.BatchNorm1d(3))
    with (
        bnlens.masked(net, torch.ones(6, 8)),
        refused(r"layer '1' has an input of shape \(6, 3, 6\).*\(6, 8\) does not fit"),
    ):
        net(torch.randn(6, 2, 8))
    net = nn.Sequential(bnlens.nn.BatchNorm1d(2), nn.Conv1d(2, 3, 3), bnlens.nn.BatchNorm1d(3))
    with bnlens.masked(net, LENGTHS), refused(r"layer '2' .* does not fit"):
        net(torch.randn(6, 2, 8))
    with bnlens.masked(net, lambda name, x: 3), refused("the mask is a int"):
        net(torch.randn(6, 2, 8))
    with refused(r"mask is \[1, 2\]; it must be a torch.Tensor or a function"), bnlens.masked(net, [1, 2]):
        pass
    plain = nn.Sequential(*net, nn.BatchNorm1d(3))
    with refused("BatchNorm1d, which would count padding; convert the model first"), bnlens.masked(plain, LENGTHS):
        pass
    with refused("no BN layer at all"), bnlens.masked(nn.Linear(2, 2), LENGTHS):
        pass
    partial = bnlens.nn.PartialNoise1d(2, noise="mean")
    with refused("PartialNoise1d takes statistics of all values"), bnlens.masked(partial, LENGTHS):
        partial(torch.randn(6, 2, 8))
    population = nn.Sequential(bnlens.nn.PopulationBatchNorm1d(2), nn.Flatten(), nn.Linear(16, 3))
    with refused("explicit regularisers"), bnlens.masked(population, LENGTHS):
        bnlens.nn.CurvaturePenalty(population, 4)(torch.randn(6, 2, 8))
