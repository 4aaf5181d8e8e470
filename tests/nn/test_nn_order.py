"""Ghost groups of samples by choice, and of whole samples where these have several rows."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nn_twins import assert_same, results
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnlens
import bnlens.nn
from bnlens.errors import UsageError
from bnlens.nn._ghost import group_sizes
from gloo_pool import GlooPool


def layer_of(M: float | None, cls: Any = bnlens.nn.BatchNorm2d, **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    layer = cls(3, statistics_batch_size=M, dtype=torch.float64, **kwargs)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def batch(*shape: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=torch.float64) + torch.arange(shape[0]).view(-1, *(1 for _ in shape[1:]))
    return x, torch.randn(shape, dtype=torch.float64)


def by_members(layer: nn.Module, x: Tensor, cotangent: Tensor, members: list[Tensor]) -> dict[str, Tensor]:
    """As `results`, with plain BN over the rows of each group."""
    leaf, weight, bias = (tensor.detach().clone().requires_grad_() for tensor in (x, layer.weight, layer.bias))
    y = torch.zeros_like(x)
    for rows in members:
        y = y.index_put((rows,), F.batch_norm(leaf[rows], None, None, weight, bias, True, 0.0, layer.eps))
    y.backward(cotangent)
    return {
        "output": y.detach(), "input": leaf.grad, "gradient of weight": weight.grad, "gradient of bias": bias.grad,
        "running_mean": 0.1 * x.transpose(0, 1).flatten(1).mean(1),
        "running_var": 0.9 + 0.1 * x.transpose(0, 1).flatten(1).var(1),
        "num_batches_tracked": torch.tensor(1),
    }  # fmt: skip


@pytest.mark.parametrize(("samples", "M"), [(16, 4), (15, 4), (11, 2), (33, 8)])
def test_groups_with_equal_shares_of_each_label(samples, M):
    labels = (torch.arange(samples) * 3 // samples) ** 2
    x, cotangent = batch(samples, 3, 2, 2)
    layer, twin = layer_of(M), layer_of(M)
    with bnlens.groups(layer, labels):
        found = results(layer, x, cotangent)
    k = len(group_sizes(samples, M))
    dealt = labels.argsort(stable=True)
    members = [dealt[group::k] for group in range(k)]
    for label in labels.unique():
        shares = [int((labels[rows] == label).sum()) for rows in members]
        assert max(shares) - min(shares) <= 1
    assert sorted(map(len, members)) == sorted(group_sizes(samples, M))
    assert_same(found, by_members(twin, x, cotangent, members), 1e-12)


def test_random_groups_are_those_of_a_shuffled_batch_in_all_layers():
    net = nn.Sequential(layer_of(4), nn.Conv2d(3, 3, 1).double(), layer_of(4))
    twin, (x, cotangent) = copy.deepcopy(net), batch(16, 3, 2, 2)
    shuffle = torch.randperm(16, generator=torch.Generator().manual_seed(7))
    with bnlens.groups(net, "random", generator=torch.Generator().manual_seed(7)):
        found = results(net, x, cotangent)
    expected = results(twin, x[shuffle], cotangent[shuffle])
    for name in ("output", "input"):
        expected[name] = expected[name][shuffle.argsort()]
    assert_same(found, expected, 1e-12)
    torch.manual_seed(3)
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        with bnlens.groups(net, "random"):
            outputs.append(net(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    assert not torch.allclose(net(x), outputs[0])


@pytest.mark.parametrize("M", [None, 16, 40, math.inf])
@pytest.mark.filterwarnings("ignore:batches of")
def test_one_group_is_as_outside(M):
    layer, twin, (x, cotangent) = layer_of(M), layer_of(M), batch(16, 3, 2, 2)
    with bnlens.groups(layer, "random"):
        found = results(layer, x, cotangent)
    assert_same(found, results(twin, x, cotangent), 1e-12)
    with bnlens.groups(layer.eval(), "random"):
        assert_same({"y": layer(x).detach()}, {"y": twin.eval()(x).detach()}, 1e-12)


@pytest.mark.parametrize("M", [None, 3, 12, 40, math.inf])
@pytest.mark.parametrize("pixels", [(), (5,), (2, 3)])
@pytest.mark.filterwarnings("ignore:batches of")
def test_rows_of_one_number_are_pixels_of_their_sample(M, pixels):
    cls = bnlens.nn.BatchNorm2d if len(pixels) == 2 else bnlens.nn.BatchNorm1d
    layer, twin, (x, cotangent) = layer_of(M, cls), layer_of(M), batch(12 * 4, 3, *pixels)
    with bnlens.groups(layer, samples_of=4):
        found = results(layer, x, cotangent)

    def as_pixels(rows: Tensor) -> Tensor:
        return rows.reshape(12, 4, 3, -1).transpose(1, 2).contiguous()

    expected = results(twin, as_pixels(x), as_pixels(cotangent))
    for name in ("output", "input"):
        expected[name] = expected[name].transpose(1, 2).reshape(x.shape)
    assert_same(found, expected, 1e-12)
    assert layer.window_samples == pytest.approx(twin.window_samples)


@pytest.mark.parametrize("order", [None, torch.tensor([0, 0, 0, 1, 1, 1])])
def test_samples_with_their_own_numbers_of_rows(order):
    offsets = torch.tensor([0, 2, 3, 7, 12, 13, 17])
    layer, twin = layer_of(3, bnlens.nn.BatchNorm1d), layer_of(3, bnlens.nn.BatchNorm1d)
    x, cotangent = batch(17, 3)
    with bnlens.groups(layer, order, samples_of=offsets):
        found = results(layer, x, cotangent)
        per_sample = layer(x[:6])
    rows = [torch.arange(first, end) for first, end in itertools.pairwise(offsets.tolist())]
    groups = [(0, 1, 2), (3, 4, 5)] if order is None else [(0, 2, 4), (1, 3, 5)]
    expected = by_members(twin, x, cotangent, [torch.cat([rows[i] for i in group]) for group in groups])
    assert_same(found, expected, 1e-12)
    alone = by_members(twin, x[:6], cotangent[:6], [torch.tensor(group) for group in groups])
    assert_same({"output": per_sample.detach()}, {"output": alone["output"]}, 1e-12)


def test_padding_is_dealt_out_last():
    layer, twin, (x, cotangent) = layer_of(3), layer_of(3), batch(9, 3, 1, 4)
    mask = torch.ones(9, 1, 1, 4, dtype=torch.bool)
    mask[4], mask[0, ..., 2:] = False, False
    order = torch.tensor([0, 3, 7, 1, 5, 8, 2, 6, 4])  # eight samples count
    with bnlens.groups(layer, torch.zeros(9)), bnlens.masked(layer, mask):
        found = results(layer, x, cotangent)
    with bnlens.masked(twin, mask[order]):
        expected = results(twin, x[order], cotangent[order])
    for name in ("output", "input"):
        expected[name] = expected[name][order.argsort()]
    assert_same(found, expected, 1e-12)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_checkpoints_and_compiled_models():
    layer, (x, cotangent) = layer_of(4), batch(16, 3, 2, 2)
    twin, compiled = copy.deepcopy(layer), torch.compile(copy.deepcopy(layer), backend="eager")
    expected = None
    for run in (twin, lambda x: checkpoint(layer, x, use_reentrant=False), compiled):
        leaf = x.clone().requires_grad_()
        ours = {twin: twin, compiled: compiled._orig_mod}.get(run, layer)
        with bnlens.groups(ours, "random", generator=torch.Generator().manual_seed(0)):
            y = run(leaf)
            y.backward(cotangent)
        found = {"output": y.detach(), "input": leaf.grad, "running_mean": ours.running_mean}
        expected = expected or found
        assert_same(found, expected, 1e-12)


def outputs_of(job: tuple[nn.Module, Tensor, int]) -> Tensor:
    """Runs on each rank."""
    layer, x, rank = job
    with bnlens.groups(layer, "random", generator=torch.Generator().manual_seed(rank)):
        return layer(x.split([5, 7])[rank]).detach()


def test_over_ranks_each_shuffles_its_own(gloo_pool: GlooPool):
    layer, (x, _) = layer_of(4, sync=True), batch(12, 3, 2, 2)
    found = torch.cat(gloo_pool.run(outputs_of, [(layer, x, 0), (layer, x, 1)]))
    draws = [torch.randperm(size, generator=torch.Generator().manual_seed(rank)) for rank, size in enumerate((5, 7))]
    order = torch.cat([draws[0], 5 + draws[1]])
    layer.sync = False
    torch.testing.assert_close(found, layer(x[order])[order.argsort()].detach(), rtol=0, atol=1e-12)


def test_what_does_not_fit():
    layer, x = layer_of(4), batch(16, 3, 2, 2)[0]
    for order in ("rnd", 3, torch.zeros(2, 2)):
        with pytest.raises(UsageError, match="order is"), bnlens.groups(layer, order):
            pass
    for samples_of in (0, "4", True, torch.tensor([1, 2]), torch.tensor([0, 3, 2]), torch.tensor([0.0, 1.0])):
        with pytest.raises(UsageError, match="samples_of is"), bnlens.groups(layer, samples_of=samples_of):
            pass
    with bnlens.groups(layer, torch.zeros(15)), pytest.raises(UsageError, match="16 samples, and there are 15 labels"):
        layer(x)
    with bnlens.groups(layer, samples_of=3), pytest.raises(UsageError, match="16 rows, no multiple of the 3"):
        layer(x)
    with (
        bnlens.groups(layer, samples_of=torch.tensor([0, 4, 9])),
        pytest.raises(UsageError, match="9 rows of 2 samples"),
    ):
        layer(x)
    with pytest.raises(UsageError, match="PartialNoise"), bnlens.groups(bnlens.nn.PartialNoise2d(3, noise="mean")):
        pass
    with pytest.raises(UsageError, match="has no groups"), bnlens.groups(nn.Sequential(layer, nn.BatchNorm2d(3))):
        pass
    twin = copy.deepcopy(layer)
    assert twin._scope is None
