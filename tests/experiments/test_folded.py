"""A net trained on with BN folded away: the folding beside the net, and real runs on few images."""

import json
import math

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.experiments._folding import fold
from bnlens.experiments._training import build
from bnlens.experiments.folded import train_on_folded
from bnlens.nn import DialBatchNorm
from bnlens.train import NETS, load_data

CONFIG = {
    "net": "mlp", "data": "digits", "samples": 300, "epochs": 3, "lr": 0.1, "batch_size": 64, "device_batch_size": 32,
    "statistics_batch_size": 8, "augment": False, "seed": 0, "further_epochs": 2, "further_rates": [0.1, 0.01],
}  # fmt: skip


@pytest.mark.parametrize("net", [net for net in NETS if net not in ("resnet32", "resnet56", "resnet110", "resnet18")])
def test_a_folded_net_is_the_same_function(net):
    images = load_data("digits", samples=50)
    model = build(images, net, seed=0)
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, DialBatchNorm):
            for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                with torch.no_grad():
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold(model)
    assert not any(isinstance(module, _BatchNorm) for module in folded.modules())
    assert all(parameter.requires_grad for parameter in folded.parameters())
    with torch.no_grad():
        expected = model.eval()(images.images)
        torch.testing.assert_close(folded(images.images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        torch.testing.assert_close(folded.train()(images.images), folded.eval()(images.images), rtol=0, atol=0)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_small_run():
    result = train_on_folded(**CONFIG)
    assert json.loads(json.dumps(result)) == result == train_on_folded(**CONFIG)
    assert result["difference"] < 1e-4
    assert [one["lr"] for one in result["further"]] == [0.1, 0.01]
    start = result["further"][0]["folded"]["curve"][0]
    for one in result["further"]:
        for net in ("folded", "kept"):
            assert not one[net]["diverged"]
            curve = one[net]["curve"]
            assert [row["epoch"] for row in curve] == [0, 1, 2]
            for name in ("train_loss", "test_loss", "weight_norm"):  # fit recalibrates once, the measure again
                assert curve[0][name] == pytest.approx(start[name], rel=1e-3)
            assert len(curve[0]["weight_norm"]) == 3
        assert one["folded"]["curve"][-1]["train_loss"] < start["train_loss"]
    large, small = (one["folded"]["curve"][-1] for one in result["further"])
    assert large["train_loss"] < small["train_loss"]


@pytest.mark.parametrize("rate", [3.0, 1e6])
def test_a_rate_that_is_too_large_ends_a_run(rate):
    result = train_on_folded(**{**CONFIG, "further_rates": [rate], "further_epochs": 4})
    folded = result["further"][0]["folded"]
    assert folded["diverged"]
    assert len(folded["curve"]) < 5
    assert all(math.isfinite(row["train_loss"]) for row in folded["curve"])


def test_population_layers_and_augmented_images():
    changes = {
        "statistics_batch_size": "inf",
        "net": "cnn",
        "augment": True,
        "further_epochs": 1,
        "further_rates": [0.01],
    }
    result = train_on_folded(**{**CONFIG, **changes})
    assert result["difference"] < 1e-4
    assert len(result["further"][0]["kept"]["curve"]) == 2
