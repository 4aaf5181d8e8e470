import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnlens.nn
from bnlens.errors import UsageError
from bnlens.train import NETS, build_net, evaluate, fit, load_data

DIGITS = {"input_shape": (1, 8, 8), "num_classes": 10}
SMALL = [name for name in NETS if name not in ("resnet18", "resnet56", "resnet110")]


@pytest.mark.parametrize("name", SMALL)
def test_none_leaves_no_normalization_and_gives_biases(name):
    net = build_net(name, norm="none", **DIGITS)
    assert not any(isinstance(module, _BatchNorm) for module in net.modules())
    assert all(module.bias is not None for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear)))
    assert net(torch.randn(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize("name", NETS)
def test_a_function_makes_every_layer(name):
    made = []

    def norm(features):
        made.append(features)
        return nn.GroupNorm(1, features)

    net = build_net(name, norm=norm, width=4, **DIGITS)
    plain = build_net(name, width=4, **DIGITS)
    expected = [module.num_features for module in plain.modules() if isinstance(module, _BatchNorm)]
    assert sorted(made) == sorted(expected)
    assert sum(isinstance(module, nn.GroupNorm) for module in net.modules()) == len(expected)
    for (name_of, mine), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, other), name_of  # the same weights, drawn from the same seed


def test_a_layer_of_ours_is_a_norm_too():
    net = build_net("cnn", norm=lambda features: bnlens.nn.BatchNorm2d(features, statistics_batch_size=8), **DIGITS)
    assert bnlens.set_statistics_batch_size(net, 16) == 4


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8", "resnet20", "resnet110", "resnet18"])
def test_without_normalization_nothing_grows_with_the_depth_at_the_start(name):
    net = build_net(name, norm="none", width=16, input_shape=(3, 16, 16), num_classes=10)
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    inputs = []
    net.fc.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    logits = net(images)
    mean_square = inputs[0].square().mean().item()
    assert 0.01 < mean_square < 10  # pooling averages over 16 pixels or more
    # the first steps at a moderate learning rate lower the loss
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    labels, losses = torch.arange(64) % 10, []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 4
    assert losses[-1] < losses[0]
    assert logits.isfinite().all()


def test_residual_branches_start_at_zero_and_divided_by_their_number():
    net = build_net("resnet20", norm="none", input_shape=(3, 32, 32), num_classes=10)
    assert all(not block.conv2.weight.any() for block in net.stages)
    first = net.stages[4].conv1.weight  # 9 branches of two convolutions: 1/3 of sqrt(2 / fan_in)
    assert first.std().item() == pytest.approx((2 / first[0].numel()) ** 0.5 / 3, rel=0.05)


@pytest.mark.slow
def test_learns_without_normalization():
    data = load_data("digits")
    net = build_net("resnet8", norm="none", width=8, **DIGITS)
    fit(net, data, statistics_batch_size=64, batch_size=64, epochs=6, lr=0.1)
    assert evaluate(net, data).accuracy > 0.97


@pytest.mark.parametrize("norm", ["layer", None, 3])
def test_unknown_norm(norm):
    with pytest.raises(UsageError, match=r"norm is .*; it must be one of 'bn', 'none' or a function"):
        build_net("cnn", norm=norm, **DIGITS)


@pytest.mark.parametrize("name", SMALL)
def test_dropout_is_before_the_last_layer(name):
    net, seen = build_net(name, dropout=0.5, **DIGITS), []
    net.fc.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    net(images)
    net.dropout.p = 0.0
    net(images)
    dropped, whole = seen
    alive = whole.abs() > 1e-6
    error = (0.25 / alive.sum().item()) ** 0.5
    assert (dropped[alive] == 0).double().mean().item() == pytest.approx(0.5, abs=4 * error)
    kept = alive & (dropped != 0)
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_out_of_range(dropout):
    with pytest.raises(UsageError, match=f"dropout is {dropout}"):
        build_net("cnn", dropout=dropout, **DIGITS)
