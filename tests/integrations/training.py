"""A small classifier with BN layers and its images, for the trainers under test."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bnlens

IMAGES = 64
LOSS = F.cross_entropy


def images() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(IMAGES, 3, 8, 8, generator=generator) + 1, torch.randint(4, (IMAGES,), generator=generator)
    )


def loader(batch_size: int = 8, **options: Any) -> DataLoader[Any]:
    return DataLoader(images(), batch_size, **options)


def net(statistics_batch_size: float | None = None, *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4),
        )
    return bnlens.convert(model, statistics_batch_size=statistics_batch_size)


def population(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and Bessel variance of the input of each BN layer that is not frozen, earlier layers normalised by theirs.

    By plain torch in float64: one pass over all images, in which each layer is given its statistics as it is reached.
    """
    twin = bnlens.revert(copy.deepcopy(model)).double()
    frozen = {name for name, module in twin.named_modules() if not module.training} if twin.training else set()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    twin.eval()
    for name, layer in twin.named_modules():
        if isinstance(layer, nn.BatchNorm2d) and name not in frozen:

            def give(module: Any, args: tuple[Tensor, ...], name: str = name) -> None:
                values = args[0].transpose(0, 1).flatten(1)
                found[name] = values.mean(1), values.var(1)
                module.running_mean, module.running_var = found[name]

            layer.register_forward_pre_hook(give)
    with torch.no_grad():
        twin(images().tensors[0].double())
    return found


def assert_population(state: dict[str, Tensor], expected: dict[str, tuple[Tensor, Tensor]]) -> None:
    for name, (mean, variance) in expected.items():
        torch.testing.assert_close(state[f"{name}.running_mean"].double(), mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(state[f"{name}.running_var"].double(), variance, rtol=1e-3, atol=1e-4)


def is_population(state: dict[str, Tensor], expected: dict[str, tuple[Tensor, Tensor]]) -> bool:
    try:
        assert_population(state, expected)
    except AssertionError:
        return False
    return True


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Bit for bit: the same code ran twice on one machine."""
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
