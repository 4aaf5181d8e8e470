"""A small classifier with BN layers and its images, for the trainers under test."""

from __future__ import annotations

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


def population(model: nn.Module, names: tuple[str, ...] = ("1", "4")) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and Bessel variance of each BN layer's input over all images in evaluation by them, by plain torch in float64."""
    import copy

    twin = bnlens.revert(copy.deepcopy(model)).double().eval()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name in names:

        def keep(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            values = args[0].transpose(0, 1).flatten(1)
            found[name] = module.running_mean, module.running_var = values.mean(1), values.var(1)

        twin.get_submodule(name).register_forward_pre_hook(keep)
    with torch.no_grad():
        twin(images().tensors[0].double())
    return found


def assert_population(state: dict[str, Tensor], expected: dict[str, tuple[Tensor, Tensor]], prefix: str = "") -> None:
    for name, (mean, variance) in expected.items():
        torch.testing.assert_close(state[f"{prefix}{name}.running_mean"].double(), mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(state[f"{prefix}{name}.running_var"].double(), variance, rtol=1e-3, atol=1e-4)


def is_population(state: dict[str, Tensor], expected: dict[str, tuple[Tensor, Tensor]], prefix: str = "") -> bool:
    try:
        assert_population(state, expected, prefix)
    except AssertionError:
        return False
    return True


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Bit for bit: the same code ran twice on one machine."""
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
