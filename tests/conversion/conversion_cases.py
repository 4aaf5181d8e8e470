"""Models to convert, and what to compare before and after."""

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnlens

LossAt = Callable[[nn.Module, int], Tensor]


class ActivatedBatchNorm(nn.BatchNorm2d):
    """Calls super().forward, takes a second argument, and holds a module of its own."""

    def __init__(self, num_features: int, slope: float) -> None:
        super().__init__(num_features)
        self.activation = nn.LeakyReLU(slope)
        self.slope = slope

    def forward(self, input: Tensor, scale: float = 1.0) -> Tensor:  # noqa: A002
        return scale * self.activation(super().forward(input))


class RenamedBatchNorm(ActivatedBatchNorm):
    """A subclass of a subclass, without a forward of its own."""


class AnyDimensionBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Derives from the common base, as some libraries' layers do."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        assert input.dim() >= 2


class WrittenOutBatchNorm(nn.BatchNorm1d):
    """Has the normalisation in its own forward, then a shift."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        running = self.running_mean, self.running_var
        return F.batch_norm(input, *running, self.weight, self.bias, self.training, 0.1, self.eps) + 1


class ScaleNorm(nn.Module):
    """A BN layer that derives from nothing of torch's, with the parameters of BN under other names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.var, self.gain, None, self.training)


def image_net() -> nn.Sequential:
    block = nn.Conv2d(8, 6, 3), ActivatedBatchNorm(6, 0.1), nn.Conv2d(6, 4, 1), RenamedBatchNorm(4, 0.2)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3),
            bn=nn.BatchNorm2d(8),
            block=nn.Sequential(*block),
            norm=nn.InstanceNorm2d(4, affine=True),
            pool=nn.AdaptiveAvgPool2d(2),
            flat=nn.Flatten(),
            last=nn.BatchNorm1d(16, affine=False),
            free=nn.BatchNorm1d(16, track_running_stats=False, momentum=None),
            any=AnyDimensionBatchNorm(16, eps=1e-3),
            head=nn.Linear(16, 3),
        )
    )


def sync_net() -> nn.Sequential:
    norms = nn.SyncBatchNorm(4), nn.SyncBatchNorm(144)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norms[0], nn.Flatten(), norms[1], nn.Linear(144, 2))


def lazy_net() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyBatchNorm2d(), nn.Flatten())
    model(torch.randn(2, 3, 8, 8))
    return model


def volume_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Flatten(), nn.Linear(864, 2))


def shared_net() -> nn.Sequential:
    layer = nn.BatchNorm2d(3)
    return nn.Sequential(OrderedDict(first=layer, conv=nn.Conv2d(3, 3, 1), inner=nn.Sequential(layer)))


def images(*, volume: bool = False, seed: int = 0) -> Tensor:
    shape = (8, 3, 8, 8, 8) if volume else (8, 3, 8, 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CASES: list[tuple[str, Callable[[], nn.Module], Tensor]] = [
    ("images", image_net, images()),
    ("sync", sync_net, images()),
    ("lazy", lazy_net, images()),
    ("volumes", volume_net, images(volume=True)),
    ("shared", shared_net, images()),
    ("one layer", lambda: nn.BatchNorm2d(3), images()),
    ("float64", lambda: image_net().double(), images().double()),
    ("channels last", lambda: image_net().to(memory_format=torch.channels_last), images()),
]


def built(build: Callable[[], nn.Module], x: Tensor) -> nn.Module:
    """The model with weights and running statistics that are nobody's defaults."""
    torch.manual_seed(1)
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model(x)
    return model


def losses(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int], loss_at: LossAt) -> list[float]:
    """Train by one step for each number, on the loss that ``loss_at`` gives for the model and that number."""
    values = []
    for step in steps:
        loss = loss_at(model, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


COPIES = pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything conversion must hand back: classes, identities, values, flags, hooks, attributes."""
    return {
        "modules": [(path, id(module), type(module), module.training) for path, module in model.named_modules()],
        "parameters": [(path, id(p), p.requires_grad, p.clone()) for path, p in model.named_parameters()],
        "buffers": [(path, id(b), b.clone()) for path, b in model.named_buffers()],
        "keys": list(model.state_dict()),
        "attributes": [(path, sorted(vars(module))) for path, module in model.named_modules()],
        "own": [
            {k: v for k, v in vars(module).items() if isinstance(v, int | float | str | bool | None)}
            for module in model.modules()
        ],
        "hooks": [(list(m._forward_hooks.items()), list(m._forward_pre_hooks.items())) for m in model.modules()],
        "repr": repr(model),
    }


def assert_same(one: Any, other: Any) -> None:
    """Equality that goes into tensors, bit by bit."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other


def assert_converts(model: nn.Module, x: Tensor, output: Callable[[Any], Tensor] = lambda y: y) -> None:
    """Evaluation bit for bit, training at the batch at hand to rounding, M = 4 in every layer, and no trace afterwards."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    classes = [type(layer) for layer in layers]
    model.eval()
    expected = output(model(x))
    before = snapshot(model)
    bnlens.convert(model, statistics_batch_size=4)
    assert all(isinstance(layer, cls) for layer, cls in zip(layers, classes, strict=True))
    assert torch.equal(output(model(x)), expected)
    bnlens.revert(model)
    assert_same(snapshot(model), before)

    twin = copy.deepcopy(model).train()
    bnlens.convert(model.train())
    torch.manual_seed(0)
    y = output(model(x))
    torch.manual_seed(0)
    torch.testing.assert_close(y, output(twin(x)), rtol=1e-4, atol=1e-4)
    for tensor, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-4, atol=1e-4)

    assert bnlens.set_statistics_batch_size(model, 4) == len(layers)
    y = output(model(x))
    y.square().mean().backward()
    assert not torch.allclose(y, output(twin(x)), rtol=1e-2)
    assert all(parameter.grad is not None for layer in layers for parameter in layer.parameters(recurse=False))
    bnlens.revert(model)
    assert [type(layer) for layer in layers] == classes
