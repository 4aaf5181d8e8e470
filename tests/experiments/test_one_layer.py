"""Training with one BN layer at another statistics batch size: twins whose sizes are set by hand, and real runs."""

import json
import math

import pytest

import bnlens.nn
from bnlens.experiments.one_layer import count_layers, train_with_one_layer
from bnlens.train import build_net, evaluate, fit, load_data

CONFIG = {
    "net": "mlp", "data": "digits", "samples": 300, "epochs": 3, "lr": 0.1, "batch_size": 64, "device_batch_size": 64,
    "augment": False, "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize(("layer", "others", "M"), [(0, 64, 8), (2, 16, 4), (1, "inf", 8), (None, 16, 16)])
def test_one_layer_has_its_own_size(layer, others, M):
    images, test = load_data("digits", samples=300, seed=0), load_data("digits", split="test")
    model = build_net("mlp", input_shape=images.input_shape, num_classes=10, seed=0)
    sizes = [math.inf if others == "inf" else others] * 3
    if layer is not None:
        sizes[layer] = M
    for block, size in zip(model.layers, sizes, strict=True):
        block[1] = bnlens.nn.BatchNorm1d(block[1].num_features, statistics_batch_size=size)
    fit(model, images, statistics_batch_size=64, batch_size=64, epochs=3, lr=0.1, seed=0)
    result = train_with_one_layer(**CONFIG, layer=layer, others=others, statistics_batch_size=M)
    assert json.loads(json.dumps(result)) == result
    assert result["test_loss"] == pytest.approx(evaluate(model, test).cross_entropy, rel=1e-3)
    squares = [float(block[1].weight.detach().square().mean()) for block in model.layers]
    assert [rms**2 for rms in result["gamma"]] == pytest.approx(squares, rel=1e-3)


def test_one_layer_makes_a_difference():
    results = [
        train_with_one_layer(**CONFIG, layer=layer, others=64, statistics_batch_size=M)
        for layer, M in ((None, 64), (0, 4), (2, 4))
    ]
    assert len({result["test_loss"] for result in results}) == 3


def test_layers_are_counted():
    assert {net: count_layers(net) for net in ("mlp", "cnn", "cnn-fc", "resnet", "resnet20")} == {
        "mlp": 3, "cnn": 4, "cnn-fc": 5, "resnet": 9, "resnet20": 19,
    }  # fmt: skip
