"""Layers, conversion and report on the device that ``BNLENS_TEST_DEVICE`` names (the CPU when not given), against float64."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnlens
from bnlens.nn import BatchNorm2d, CurvaturePenalty, GammaDecay, PopulationBatchNorm2d
from bnlens.nn._ghost import group_sizes
from on_device import DEVICE

SAMPLES, CHANNELS = 11, 3
REGIMES = {"none": None, "batch": SAMPLES, "ghost": 4, "ghost pairs": 2, "window": 40, "population": math.inf}
ORDERS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def images(shape: tuple[int, ...], seed: int) -> Tensor:
    """float64 of the CPU, in numbers that bfloat16 has."""
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + 2 * torch.randn(shape, generator=generator)).bfloat16().double()


def layer_of(M: float | None) -> BatchNorm2d:
    layer = BatchNorm2d(CHANNELS, statistics_batch_size=M, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(images((CHANNELS,), 2))
        layer.bias.copy_(images((CHANNELS,), 3))
    return layer


def passes(layer: nn.Module, inputs: list[Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """Output and gradients of the last of several passes, and the buffers after it."""
    for x in inputs:
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        layer.zero_grad()
        y = layer(leaf)
        y.backward(cotangent)
    found = {"output": y.detach(), "input": leaf.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    return found | {name: getattr(layer, name) for name in ("running_mean", "running_var", "num_batches_tracked")}


def by_a_loop(layer: BatchNorm2d, inputs: list[Tensor], cotangent: Tensor, M: int) -> dict[str, Tensor]:
    """The same of ghost groups in torch's own operations: group after group, running statistics of the batch."""
    torchs = nn.BatchNorm2d(CHANNELS, dtype=torch.float64)
    torchs.load_state_dict(layer.state_dict())
    for x in inputs:
        torchs(x)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (inputs[-1], torchs.weight, torchs.bias)]
    parts = leaves[0].split(group_sizes(SAMPLES, M))
    y = torch.cat([F.batch_norm(part, None, None, *leaves[1:], training=True, eps=layer.eps) for part in parts])
    gradients = torch.autograd.grad(y, leaves, cotangent)
    found = {"output": y.detach(), **dict(zip(("input", "weight", "bias"), gradients, strict=True))}
    return found | {name: getattr(torchs, name) for name in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("shape", [(8, 6), (3, 2)], ids=str)
@pytest.mark.parametrize(
    ("regime", "order", "dtype"), list(itertools.product(REGIMES, ORDERS, DTYPES)), ids=lambda value: str(value)
)
def test_a_layer_is_that_of_float64_on_the_cpu(regime, order, dtype, shape):
    M = REGIMES[regime]
    reference = layer_of(M)
    layer = copy.deepcopy(reference).to(DEVICE)
    if dtype != torch.float64:
        layer.float()  # as autocast leaves it, also beside bfloat16
    inputs = [images((SAMPLES, CHANNELS, *shape), seed) for seed in (4, 5)]
    cotangent = images(inputs[0].shape, 6)
    placed = [x.to(DEVICE, dtype, memory_format=ORDERS[order]) for x in (*inputs, cotangent)]
    found = passes(layer, placed[:-1], placed[-1])
    loop = regime.startswith("ghost")
    expected = by_a_loop(reference, inputs, cotangent, M) if loop else passes(reference, inputs, cotangent)
    assert found["output"].stride() == placed[0].stride()
    precise = 1e-12 if dtype == torch.float64 else 2e-5  # of sums of some hundred values
    for name, value in expected.items():
        assert found[name].device.type == DEVICE.type
        rounding = torch.finfo(found[name].dtype).eps if found[name].is_floating_point() else 0.0
        allowed = rounding * value.abs() + precise * max(1.0, float(value.abs().max()))
        assert ((found[name].cpu().double() - value).abs() <= allowed).all(), name


def test_ghost_groups_have_a_second_derivative():
    x, cotangent = (images((SAMPLES, CHANNELS, 8, 6), seed) for seed in (4, 6))
    penalties = []
    for device in (torch.device("cpu"), DEVICE):
        layer, leaf = layer_of(4).to(device), x.to(device).requires_grad_()
        (first,) = torch.autograd.grad((layer(leaf) * cotangent.to(device)).sum(), leaf, create_graph=True)
        penalties.append([g.cpu() for g in torch.autograd.grad(first.square().sum(), (leaf, layer.weight))])
    torch.testing.assert_close(penalties[0], penalties[1])


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.bn1(self.conv1(x)))
        return self.fc(torch.tanh(self.bn2(self.conv2(x))).mean((2, 3)))


def small_net() -> SmallNet:
    torch.manual_seed(0)
    net = SmallNet().double()
    for bn in (net.bn1, net.bn2):
        nn.init.normal_(bn.weight)
    return net


def test_a_net_is_converted_and_reverted_in_place_on_the_device():
    net = small_net().to(DEVICE)
    x = images((8, 2, 6, 6), 1).to(DEVICE)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    expected = copy.deepcopy(net)(x)
    bnlens.convert(net)
    assert isinstance(net.bn1, BatchNorm2d)
    assert all(tensor.device.type == DEVICE.type for tensor in (*net.parameters(), *net.buffers()))
    torch.testing.assert_close(copy.deepcopy(net)(x), expected)
    bnlens.nn.set_statistics_batch_size(net, 4)
    assert not torch.allclose(copy.deepcopy(net)(x), expected)
    bnlens.revert(net)
    assert type(net.bn1) is nn.BatchNorm2d
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("penalty", [GammaDecay, CurvaturePenalty])
def test_a_penalty_is_that_of_the_cpu(penalty):
    x, labels = images((8, 2, 6, 6), 1), torch.arange(8) % 3
    found = []
    for device in (torch.device("cpu"), DEVICE):
        net = small_net()
        bnlens.convert(net)
        bnlens.nn.set_statistics_batch_size(net, math.inf)
        assert isinstance(net.bn1, (BatchNorm2d, PopulationBatchNorm2d))
        regularised = penalty(net.to(device), 4)
        for _ in range(2):
            logits, value = regularised(x.to(device))
            loss = F.cross_entropy(logits, labels.to(device)) + value
            net.zero_grad()
            loss.backward()
        found.append([loss.detach().cpu(), net.bn1.weight.grad.cpu(), net.conv1.weight.grad.cpu()])
    torch.testing.assert_close(found[0], found[1])


def test_a_report_in_float32_is_that_of_float64_on_the_cpu():
    x, labels = images((48, 2, 6, 6), 1), torch.arange(48) % 3
    reports = []
    for device, dtype in ((torch.device("cpu"), torch.float64), (DEVICE, torch.float32)):
        net = small_net().to(device, dtype)
        batches = [
            (part.to(device, dtype), target.to(device))
            for part, target in zip(x.split(16), labels.split(16), strict=True)
        ]
        options = {"statistics_batch_size": 8, "rounds": 2, "fisher": True, "progress": False}
        reports.append(bnlens.report(net, batches, F.cross_entropy, **options))
    exact, found = (each.network for each in reports)
    for one, other in zip(*(each.layers for each in reports), strict=True):
        assert one.share[8].value == pytest.approx(other.share[8].value, rel=1e-3, abs=1e-5)
    assert found.population_loss.value == pytest.approx(exact.population_loss.value, rel=1e-4)
    for of_found, of_exact in (
        (found.gaps.measured[8], exact.gaps.measured[8]),
        (found.gaps.first_order, exact.gaps.first_order),
        (found.gaps.fisher, exact.gaps.fisher),
    ):
        assert of_found.value == pytest.approx(of_exact.value, rel=1e-3, abs=1e-5)
