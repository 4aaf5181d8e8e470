import math

import pytest
import torch
from torch import nn

from bnlens.errors import ModelError
from bnlens.train import ImageData, build_net, evaluate


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(50, 1, 4, 4, generator=generator)
    return ImageData(images, torch.arange(50) % 3, ("a", "b", "c"), "toy", "train", (0.0,), (1.0,))


def test_against_the_definition(data):
    net = build_net("cnn", input_shape=data.input_shape, num_classes=3, width=4).eval()
    probabilities = net(data.images).double().softmax(1)
    rows = torch.arange(50)
    result = evaluate(net, data, batch_size=16)
    assert result.cross_entropy == pytest.approx(-probabilities[rows, data.labels].log().mean().item(), rel=1e-5)
    assert result.accuracy == (probabilities.argmax(1) == data.labels).double().mean().item()
    assert result.samples == 50


def test_a_constant_output_costs_the_log_of_the_classes(data):
    class Constant(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 3)

    result = evaluate(Constant(), data)
    assert result.cross_entropy == pytest.approx(math.log(3), rel=1e-6)
    assert result.accuracy == 17 / 50


def test_batch_size_does_not_matter(data):
    net = build_net("resnet", input_shape=data.input_shape, num_classes=3, width=4)
    assert evaluate(net, data, batch_size=7).cross_entropy == pytest.approx(evaluate(net, data).cross_entropy, rel=1e-5)


def test_modes_and_statistics_are_left_alone(data):
    net = build_net("cnn", input_shape=data.input_shape, num_classes=3, width=4)
    net.blocks[1].eval()
    modes = [module.training for module in net.modules()]
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    evaluate(net, data)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(buffers[name], buffer) for name, buffer in net.named_buffers())


def test_output_of_another_shape(data):
    net = build_net("mlp", input_shape=data.input_shape, num_classes=2, width=4)
    with pytest.raises(ModelError, match=r"shape \(50, 2\) for 50 images of toy; .* at least 3 of them"):
        evaluate(net, data)
