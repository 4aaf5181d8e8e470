"""Layers whose mean or standard deviation alone carries noise: against twins in plain autograd, and BN and PN at the limits."""

import contextlib
import math
from functools import partial

import pytest
import torch
from nn_twins import LAYERS, assert_same, results, twin_results
from torch import nn

import bnlens.nn
from bnlens.errors import UsageError
from bnlens.nn import PartialNoise1d, PartialNoise2d, PartialNoise3d, use_partial_noise
from bnlens.nn._ghost import group_sizes
from bnlens.nn._window import window_weight

OURS = {2: PartialNoise1d, 3: PartialNoise1d, 4: PartialNoise2d, 5: PartialNoise3d}
SHAPES = [(11, 3), (9, 2, 5), (10, 3, 2, 3), (8, 2, 2, 1, 3)]


def made(shape, noise, M, *, seed=0):
    torch.manual_seed(seed)
    layer = OURS[len(shape)](shape[1], noise=noise, statistics_batch_size=M, dtype=torch.float64)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def twin(x, weight, bias, eps, noise, sizes, window):
    """The definition, group by group: values by `window` or the group, gradients by the group or the whole batch."""
    dims = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    mu, var = window
    whole_mean, whole_std = x.mean(dims), (x.var(dims, correction=0) + eps).sqrt()
    target_std = (var + eps).sqrt()
    outputs = []
    for part in x.split(sizes):
        mean, std = part.mean(dims), (part.var(dims, correction=0) + eps).sqrt()
        if noise not in ("both", "std"):
            # the window's value, with the relative gradient of the whole batch's
            std = target_std * whole_std / whole_std.detach()
        if noise in ("both", "mean"):
            centred = (part - mean.view(shape)) / std.view(shape)
        else:
            centred = (part - whole_mean.view(shape)) / std.view(shape)
            centred = centred + ((whole_mean - mu) / std).detach().view(shape)
        outputs.append(weight.view(shape) * centred + bias.view(shape))
    return torch.cat(outputs)


@pytest.mark.parametrize("noise", ["both", "mean", "std", "none"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_definition_in_plain_autograd(shape, noise):
    M = 4
    layer = made(shape, noise, M)
    sizes, weight = group_sizes(shape[0], M), window_weight(shape[0], math.inf)
    dims = [0, *range(2, len(shape))]
    first = second = seen = 0.0
    for step in range(3):
        x, cotangent = 2 * torch.randn(2, *shape, dtype=torch.float64) + step
        found = results(layer, x, cotangent)
        first = (1 - weight) * first + weight * x.mean(dims)
        second = (1 - weight) * second + weight * x.square().mean(dims)
        seen = (1 - weight) * seen + weight
        mu = first / seen
        window = mu, second / seen - mu * mu
        definition = partial(twin, eps=layer.eps, noise=noise, sizes=sizes, window=window)
        expected = twin_results(definition, x, cotangent, layer.weight, layer.bias)
        assert_same({name: found[name] for name in expected}, expected, 1e-11)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("noise", "M"), [("both", 4), ("both", 2), ("none", math.inf)])
def test_with_both_noises_it_is_bn_and_with_none_pn(shape, noise, M):
    layer = made(shape, noise, 4 if noise == "none" else M)
    other = LAYERS[len(shape)](shape[1], statistics_batch_size=M, dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    for step in range(3):
        x, cotangent = 2 * torch.randn(2, *shape, dtype=torch.float64) + step
        assert_same(results(layer, x, cotangent), results(other, x, cotangent), 1e-10)


def test_one_statistic_alone_has_its_noise():
    """At fixed input, the output's mean over a group is fixed by the mean's noise alone, its spread by the spread's."""
    torch.manual_seed(0)
    x = torch.randn(64, 3, 4, 4, dtype=torch.float64)
    for noise in ("mean", "std", "none"):
        layer = PartialNoise2d(3, noise=noise, statistics_batch_size=8, dtype=torch.float64)
        groups = layer(x).detach().view(8, 8, 3, 16).permute(0, 2, 1, 3).flatten(2)
        assert (groups.mean(2).abs().max() < 1e-12) == (noise == "mean")
        assert ((groups.std(2, correction=0) - 1).abs().max() < 1e-4) == (noise == "std")


def test_in_eval_mode_it_is_torchs():
    layer = made((4, 3, 2, 2), "mean", 2)
    layer(torch.randn(8, 3, 2, 2, dtype=torch.float64))
    plain = nn.BatchNorm2d(3, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    assert torch.equal(layer.eval()(x), plain.eval()(x))


def test_large_means_cancel_nothing():
    layer = PartialNoise2d(2, noise="std", statistics_batch_size=4)
    x = torch.randn(16, 2, 3, 3)
    same = PartialNoise2d(2, noise="std", statistics_batch_size=4)
    torch.testing.assert_close(layer(x + 1000), same(x), atol=2e-3, rtol=0)


def test_groups_far_apart_cancel_nothing():
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x += 100 * torch.arange(8).div(2, rounding_mode="floor").view(8, 1, 1, 1)
    layer = PartialNoise2d(3, noise="both", statistics_batch_size=2)
    groups = x.double().split(2)
    expected = torch.cat([nn.functional.batch_norm(group, None, None, training=True) for group in groups])
    torch.testing.assert_close(layer(x).double(), expected, rtol=0, atol=1e-3)


def test_replacing_layers():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.2), nn.Flatten(), nn.Sequential(nn.BatchNorm1d(12))
    )
    nn.init.normal_(model[1].weight)
    before = model.state_dict()
    assert use_partial_noise(model, "std") == 2
    assert "noise=std" in repr(model[1])
    assert model[1].momentum == 0.2
    assert model.state_dict().keys() == before.keys()
    assert torch.equal(model[1].weight, before["1.weight"])
    assert bnlens.nn.set_statistics_batch_size(model, 4) == 2
    model(torch.randn(8, 1, 4, 4)).sum().backward()
    assert model[0].weight.grad.isfinite().all()


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="noise is 'mu'; it must be one of 'both', 'mean', 'std', 'none'"):
        PartialNoise2d(3, noise="mu")
    with pytest.raises(UsageError, match="has no BN layer to give noise to"):
        use_partial_noise(nn.Sequential(nn.Linear(2, 2)), "mean")
    with pytest.raises(UsageError, match="SyncBatchNorm; use a net with BatchNorm1d, 2d or 3d"):
        use_partial_noise(nn.Sequential(nn.SyncBatchNorm(2)), "mean")
    with pytest.raises(UsageError, match="one value per channel"):
        PartialNoise1d(3, noise="mean")(torch.randn(1, 3))
    with pytest.raises(UsageError, match="set sync=False"):
        PartialNoise1d(3, noise="mean", sync=True)(torch.randn(4, 3))


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (lambda model, x: bnlens.groups(model, "random"), "have groups in the order of the batch"),
        (lambda model, x: bnlens.shared_statistics(model, x), "one pass; leave bnlens.shared_statistics"),
        (
            lambda model, x: bnlens.masked(model, torch.ones(8, 4, 4, dtype=torch.bool)),
            "all values; leave the mask out",
        ),
    ],
)
def test_a_context_of_other_statistics_is_refused(context, said):
    model = nn.Sequential(nn.BatchNorm2d(3))
    use_partial_noise(model, "mean")
    bnlens.nn.set_statistics_batch_size(model, 2)
    x = torch.randn(8, 3, 4, 4)
    with pytest.raises(UsageError, match=said), context(model, x):
        model(x)
    model.eval()
    with contextlib.ExitStack() as stack:
        if "all values" in said:  # the others are of training
            stack.enter_context(context(model, x))
        assert torch.equal(model(x), torch.nn.functional.batch_norm(x, *running(model[0])))


def running(layer):
    """Running statistics, gamma and beta."""
    return layer.running_mean, layer.running_var, layer.weight, layer.bias


def test_a_fixed_regime_is_refused():
    layer = PartialNoise2d(3, noise="std", statistics_batch_size=2, regime="ghost")
    with pytest.raises(UsageError, match="set regime='auto', not 'ghost'"):
        layer(torch.randn(8, 3, 4, 4))


def test_tensors_that_replace_those_of_meta_bring_an_empty_window():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 4)
    plain = PartialNoise2d(3, noise="std", statistics_batch_size=2)
    with torch.device("meta"):
        layer = PartialNoise2d(3, noise="std", statistics_batch_size=2)
    for name, value in plain.state_dict(keep_vars=True).items():  # as loaders do that go around load_state_dict
        (layer._parameters if name in layer._parameters else layer._buffers)[name] = value.clone()
    torch.testing.assert_close(layer(x), plain(x))
