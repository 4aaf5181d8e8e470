"""Weight normalization with the noise of one statistic: against torch's, twins group by group, and nets with BN layers."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import bnlens
from bnlens.errors import UsageError
from bnlens.experiments._weight_norm import WeightNormGain, settle_statistics, use_weight_norm
from bnlens.experiments.networks import check_weight_norm, train_network_with_weight_norm
from bnlens.train import build_net, load_data, loader

NOISES = [None, "mean", "std"]
CONFIG = {
    "net": "cnn-fc", "data": "digits", "samples": 300, "epochs": 3, "batch_size": 64, "lr": 0.05, "augment": False,
    "weight_norm": True, "device_batch_size": 32, "regulariser": None, "dropout": 0.0, "seed": 0,
}  # fmt: skip


def bn_net():
    return build_net("cnn-fc", input_shape=(1, 8, 8), num_classes=10, seed=3)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3, bias=False), nn.Linear(5, 4, bias=False)])
def test_without_noise_it_is_torchs_weight_norm(layer):
    x = torch.randn(6, 3, 5, 5) if isinstance(layer, nn.Conv2d) else torch.randn(6, 5)
    twin = copy.deepcopy(layer)
    twin.bias = nn.Parameter(torch.randn(4))
    parametrizations.weight_norm(twin)
    gain, direction = twin.parametrizations.weight.original0, twin.parametrizations.weight.original1
    nn.init.normal_(gain)
    model = nn.Sequential(layer, nn.BatchNorm1d(4) if isinstance(layer, nn.Linear) else nn.BatchNorm2d(4))
    use_weight_norm(model, None, None)
    with torch.no_grad():
        model[1].weight.copy_(gain.flatten())
        model[1].bias.copy_(twin.bias)
    torch.testing.assert_close(model(x), twin(x))
    for net in (model, twin):
        net(x).square().sum().backward()
    theirs = (direction.grad, gain.grad.flatten(), twin.bias.grad)
    ours = (model[0].parametrizations.weight.original.grad, model[1].weight.grad, model[1].bias.grad)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["mean", "std"])
@pytest.mark.parametrize("shape", [(11, 3), (11, 3, 4, 2)])
def test_each_group_has_its_own_statistic(noise, shape):
    layer = WeightNormGain(3, noise=noise, M=4).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    h = (torch.randn(shape, dtype=torch.float64) + 2).requires_grad_()
    y = layer(h)
    expected = []
    for group in (h[:4], h[4:8], h[8:]):  # 11 samples are three groups of about 4
        dims = [dim for dim in range(h.ndim) if dim != 1]
        gain, bias = (tensor.reshape(1, 3, *[1] * (h.ndim - 2)) for tensor in (layer.weight, layer.bias))
        if noise == "mean":
            expected.append(gain * (group - group.mean(dims, keepdim=True)) + bias)
        else:
            expected.append(gain * (group + bias) / (group.var(dims, correction=0, keepdim=True) + 1e-5).sqrt())
    expected = torch.cat(expected)
    torch.testing.assert_close(y, expected)
    upstream = torch.randn_like(y)
    ours, theirs = (torch.autograd.grad(out, h, upstream, retain_graph=True)[0] for out in (y, expected))
    torch.testing.assert_close(ours, theirs)
    values = h.detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * values.var(1, correction=0), rtol=0.01, atol=0)


@pytest.mark.parametrize("noise", NOISES)
def test_it_starts_as_the_bn_net_with_statistics_of_the_population(noise):
    images = load_data("digits", samples=200)
    model, twin = bn_net(), bn_net()
    bnlens.recalibrate(twin, loader(images, 64), progress=False)
    use_weight_norm(model, noise, None if noise is None else 8)
    settle_statistics(model, images, start=True)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images.images), twin.eval()(images.images), rtol=1e-3, atol=1e-3)


def test_settled_statistics_are_those_of_the_inputs_in_evaluation():
    images = load_data("digits", samples=200)
    model = bn_net()
    use_weight_norm(model, "std", 8)
    settle_statistics(model, images)
    seen = {}
    for layer in (layer for layer in model.modules() if isinstance(layer, WeightNormGain)):
        layer.register_forward_pre_hook(lambda layer, inputs: seen.update({layer: inputs[0]}))
    with torch.no_grad():
        model.eval()(images.images)
    assert len(seen) == 5
    for layer, h in seen.items():
        values = h.transpose(0, 1).flatten(1).double().numpy()
        np.testing.assert_allclose(layer.running_mean, values.mean(1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.running_var, values.var(1, ddof=1), rtol=1e-3)


@pytest.mark.parametrize("noise", NOISES)
def test_a_small_run(noise):
    result = train_network_with_weight_norm(**CONFIG, noise=noise, statistics_batch_size="inf" if noise is None else 8)
    assert json.loads(json.dumps(result)) == result
    assert result["images"] == 300
    assert result["train_loss"] < 2.3
    assert [row["epoch"] for row in result["curve"]] == [1, 2, 3]
    assert result["curve"][-1]["steps_loss"] < result["curve"][0]["steps_loss"]
    assert len(result["gamma"]) == len(result["curve"][0]["weight_norm"]) == 5


@pytest.mark.parametrize("net", ["resnet", "resnet8"])
def test_nets_whose_bn_layers_stand_elsewhere_are_refused(net):
    check_weight_norm("mlp")
    with pytest.raises(UsageError, match="weight normalization cannot take their place; use a plain net"):
        check_weight_norm(net)
