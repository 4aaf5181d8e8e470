import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnlens.errors import UsageError
from bnlens.train import build_net
from bnlens.train.nets.preactivation import PreActivationBlock

CIFAR = {"input_shape": (3, 32, 32), "num_classes": 10}


def count(net, kind):
    return sum(isinstance(module, kind) for module in net.modules())


# He et al. 2016 (arXiv 1512.03385, table 6) give 0.27, 0.46, 0.66, 0.85 and 1.7 million for the same layers.
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_has_the_depth_and_size_of_its_name(depth, millions):
    net = build_net(f"resnet{depth}", **CIFAR)
    assert count(net, (nn.Conv2d, nn.Linear)) == depth
    assert count(net, nn.BatchNorm2d) == depth - 1  # one before each convolution but the stem, one before the pooling
    parameters = sum(parameter.numel() for parameter in net.parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.03)
    assert parameters == 97_216 * (depth - 2) // 6 - 21_926
    assert all(module.bias is None for module in net.modules() if isinstance(module, nn.Conv2d))


def test_stages_halve_the_image_and_double_the_channels():
    net, shapes = build_net("resnet14", **CIFAR), []
    for block in net.stages:
        block.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    net(torch.zeros(2, 3, 32, 32))
    assert shapes == [(16, 32, 32)] * 2 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "shared"), [(4, 4, 1, False), (4, 4, 1, True), (4, 8, 2, True)]
)
def test_a_block_that_adds_nothing_is_its_shortcut(inputs, outputs, stride, shared):
    block = PreActivationBlock(inputs, outputs, stride, shared=shared).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, inputs, 7, 7)
    expected = F.relu(x / (1 + 1e-5) ** 0.5) if shared else x  # BN in eval mode, as it starts
    expected = expected[:, :, ::stride, ::stride]
    result = block(x)
    torch.testing.assert_close(result[:, :inputs], expected)
    assert torch.equal(result[:, inputs:], torch.zeros_like(result[:, inputs:]))
    assert result.shape == (2, outputs, -(-7 // stride), -(-7 // stride))


def test_a_block_normalises_before_each_convolution():
    block = PreActivationBlock(3, 3)
    x = torch.randn(8, 3, 5, 5)

    def normalised(h):
        variance, mean = torch.var_mean(h, (0, 2, 3), correction=0, keepdim=True)
        return F.relu((h - mean) / (variance + 1e-5).sqrt())

    first = F.conv2d(normalised(x), block.conv1.weight, padding=1)
    second = F.conv2d(normalised(first), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), x + second, rtol=1e-4, atol=1e-5)


def test_only_the_first_block_of_a_stage_shares_its_activation():
    blocks = build_net("resnet20", **CIFAR).stages
    assert [block.shared for block in blocks] == [True, False, False] * 3
    assert [block.stride for block in blocks] == [1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert [block.added_channels for block in blocks] == [0, 0, 0, 16, 0, 0, 32, 0, 0]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet19", "'resnet14' and 'resnet20'; 'resnet18' alone has another layout"),
        ("resnet35", "'resnet32' and 'resnet38'"),
        ("resnet2", "'resnet8'; "),
        ("ResNet20", "'resnet20'; "),
    ],
)
def test_other_depths_get_the_nearest(name, nearest):
    words = f"no net {name!r}: pre-activation nets have a depth of 6n \\+ 2, nearest: {nearest}"
    with pytest.raises(UsageError, match=words):
        build_net(name, **CIFAR)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "ResNet152"])
def test_nets_of_imagenet_are_not_taken_for_others(name):
    with pytest.raises(UsageError, match=f"no net {name!r}, which is one for ImageNet; give .* or one of mlp, cnn, .*"):
        build_net(name, **CIFAR)


def test_a_depth_that_is_not_listed():
    assert count(build_net("resnet44", **CIFAR), (nn.Conv2d, nn.Linear)) == 44  # 6 * 7 + 2


def test_resnet18_is_torchvisions_but_for_stem_and_classes():
    net = build_net("resnet18", **CIFAR)
    # torchvision's has 11,689,512 parameters with a 7x7 stem and 1,000 classes
    expected = 11_689_512 - 64 * 3 * 49 + 64 * 3 * 9 - 513 * 1000 + 513 * 10
    assert sum(parameter.numel() for parameter in net.parameters()) == expected == 11_173_962
    assert count(net, nn.Conv2d) == 17 + 3  # and the three projections
    assert count(net, nn.MaxPool2d) == 0
    assert net.conv.stride == (1, 1)
    assert [tuple(block.conv1.weight.shape[:2]) for block in net.stages] == [
        (64, 64), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512),
    ]  # fmt: skip
    with torch.no_grad():
        assert net.stages(torch.zeros(1, 64, 32, 32)).shape == (1, 512, 4, 4)
