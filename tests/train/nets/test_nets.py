import pytest
import torch
from torch import nn

from bnlens.errors import UsageError
from bnlens.train import NETS, build_net
from bnlens.train.nets import CNN

CASES = [
    # name, input shape, parameters, BN layers
    ("mlp", (1, 8, 8), 43_018, 3),
    ("mlp", (3, 32, 32), 428_042, 3),
    ("cnn", (1, 8, 8), 65_834, 4),
    ("cnn", (3, 32, 32), 66_410, 4),
    ("cnn-fc", (3, 32, 32), 70_634, 5),
    ("resnet", (1, 8, 8), 77_754, 9),
    ("resnet", (3, 32, 32), 78_042, 9),
    ("resnet", (3, 33, 40), 78_042, 9),
    ("resnet8", (3, 32, 32), 75_290, 7),
    ("resnet14", (3, 31, 33), 172_506, 13),
    ("resnet14", (1, 8, 8), 172_218, 13),
    ("resnet18", (3, 32, 32), 11_173_962, 20),
]


@pytest.mark.parametrize(("name", "shape", "parameters", "layers"), CASES)
def test_sizes(name, shape, parameters, layers):
    net = build_net(name, input_shape=shape, num_classes=10)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()) == layers
    assert net(torch.randn(4, *shape)).shape == (4, 10)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_receives_a_gradient(name):
    net = build_net(name, input_shape=(1, 8, 8), num_classes=3, width=4)
    net(torch.randn(16, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_cnn_strides():
    blocks = CNN(input_shape=(3, 32, 32), num_classes=10).blocks
    x = torch.zeros(1, 3, 32, 32)
    shapes = [tuple((x := block(x)).shape[1:]) for block in blocks]
    assert shapes == [(32, 16, 16), (32, 16, 16), (64, 8, 8), (64, 8, 8)]


@pytest.mark.parametrize("name", ["cnn", "resnet", "resnet14"])
def test_convolutions_start_from_two_over_fan_in(name):
    net = build_net(name, input_shape=(3, 32, 32), num_classes=10)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            count = module.weight.numel()
            # a sample variance of n normal values has the relative standard error sqrt(2 / n)
            assert module.weight.var().item() * fan_in / 2 == pytest.approx(1, abs=4 * (2 / count) ** 0.5)


@pytest.mark.parametrize(("size", "side"), [(32, 4), (31, 8), (8, 2)])
def test_resnet_stem_halves_large_images(size, side):
    net = build_net("resnet", input_shape=(1, size, size), num_classes=2)
    stages = []
    net.stages.register_forward_hook(lambda _module, _inputs, output: stages.append(output.shape[2:]))
    net(torch.zeros(2, 1, size, size))
    assert stages == [(side, side)]


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    nets = [build_net("cnn", input_shape=(1, 8, 8), num_classes=2, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (net.fc.weight for net in nets)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "nearest"), [("cn", "cnn"), ("rasnet", "resnet"), ("MLP", "mlp")])
def test_unknown_name_gets_the_nearest(name, nearest):
    with pytest.raises(UsageError, match=f"there is no net {name!r}; did you mean '{nearest}'"):
        build_net(name, input_shape=(1, 8, 8), num_classes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (8, 8)}, r"input_shape is \(8, 8\); it must be 3 integers of at least 1"),
        ({"input_shape": (0, 8, 8)}, "input_shape has 0 in it; each must be"),
        ({"num_classes": 0}, "num_classes is 0; it must be an integer of at least 1"),
        ({"width": 0}, "width is 0; it must be an integer of at least 1"),
    ],
)
def test_sizes_out_of_range(options, message):
    with pytest.raises(UsageError, match=message):
        build_net("cnn", **({"input_shape": (1, 8, 8), "num_classes": 2} | options))
