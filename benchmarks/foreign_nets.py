"""Networks that others wrote, and small ones that overfit, with the images they are trained on for a moment.

timm, transformers and monai are needed for those that come from there, CIFAR-10 for all but the digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from shared import cifar_net
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from peers import define_torchvision_operators

__all__ = ["NETS", "Trained", "define_torchvision_operators", "train", "train_as_d5"]

binary = F.binary_cross_entropy_with_logits


class Trained(NamedTuple):
    """A network with what it was trained on."""

    model: nn.Module
    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


def images(folder: str, samples: int = 1024) -> tuple[Tensor, Tensor]:
    """Images of CIFAR-10 and their labels."""
    from bnlens.train import load_data

    data = load_data(folder, samples=samples)
    return data.images, data.labels


def digits() -> tuple[Tensor, Tensor]:
    """1,024 of the embedded digits."""
    from bnlens.train import load_data

    data = load_data("digits", samples=1024)
    return data.images, data.labels


def train(
    model: nn.Module, x: Tensor, y: Tensor, loss: Any, schedule: torch.optim.lr_scheduler.OneCycleLR, batch: int
) -> None:
    """Train to the end of a schedule, on random batches of the same images in the same order every time."""
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(schedule.total_steps):
        rows = torch.randint(len(x), (batch,), generator=generator)
        output = model(x[rows])
        schedule.optimizer.zero_grad()
        loss(getattr(output, "logits", output), y[rows]).backward()
        schedule.optimizer.step()
        schedule.step()


def train_as_d5(model: nn.Module, x: Tensor, y: Tensor, *, steps: int = 240, batch: int = 256, lr: float = 0.3) -> None:
    """Train as claim D5 does, with BN over 16 images."""
    from bnlens.train import ImageData, fit

    data = ImageData(x, y, tuple("0123456789"), "images", "train", (0.0,) * 3, (1.0,) * 3)
    fit(model, data, statistics_batch_size=16, batch_size=batch, steps=steps, lr=lr, seed=0, progress=False)


def fitted(
    model: nn.Module, x: Tensor, y: Tensor, loss: Any = F.cross_entropy, *, steps: int = 220, **options: Any
) -> Trained:
    """Train by AdamW on a one-cycle schedule."""
    lr, batch, decay = (options.get(name, value) for name, value in (("lr", 2e-3), ("batch", 48), ("decay", 1e-2)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, pct_start=0.2)
    train(model, x, y, loss, schedule, batch)
    return Trained(model, x, y, loss)


def of_d5(net: str, folder: str) -> Trained:
    """A net of claim D5, trained as there."""
    x, y = images(folder, 5000)
    model = cifar_net(net)
    train_as_d5(model, x, y)
    return Trained(model, x, y, F.cross_entropy)


def of_timm(name: str, folder: str) -> Trained:
    """A network of timm without pretrained weights."""
    define_torchvision_operators()
    import timm

    return fitted(timm.create_model(name, num_classes=10), *images(folder))


def of_transformers(name: str, folder: str, *, steps: int = 220, lr: float = 2e-3, **config: Any) -> Trained:
    """An image classifier of transformers by its configuration."""
    define_torchvision_operators()
    import transformers

    made = getattr(transformers, f"{name}Config")(num_labels=10, **config)
    return fitted(getattr(transformers, f"{name}ForImageClassification")(made), *images(folder), steps=steps, lr=lr)


def densenet(folder: str) -> Trained:
    """A DenseNet of monai."""
    from monai.networks.nets import DenseNet

    size = {"init_features": 16, "growth_rate": 8, "block_config": (3, 3, 3)}
    return fitted(DenseNet(spatial_dims=2, in_channels=3, out_channels=10, **size), *images(folder))


def discriminator(folder: str) -> Trained:
    """A GAN's discriminator on images and smooth noise, near zero loss."""
    x, _ = images(folder)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    x = torch.cat([x[:768], F.avg_pool2d(noise, 3, 1, 1)[:768] * 2])
    y = torch.cat([torch.ones(768), torch.zeros(768)])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))

    def block(inputs: int, outputs: int, norm: bool = True) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)]
        return [*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.LeakyReLU(0.2)]

    head = nn.Conv2d(64, 1, 4), nn.Flatten(0)
    model = nn.Sequential(*block(3, 16, norm=False), *block(16, 32), *block(32, 64), *head)
    return fitted(model, x[order], y[order], binary, steps=200)


def multilayer(activation: type[nn.Module], steps: int) -> Trained:
    """A multilayer net on the digits."""
    x, y = digits()
    layers = [nn.Linear(64, 64), nn.BatchNorm1d(64), activation(), nn.Linear(64, 64), nn.BatchNorm1d(64), activation()]
    return fitted(nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10)), x, y, steps=steps, batch=64, decay=0.0)


def convolutional() -> Trained:
    """A small convolutional net on the digits."""
    x, y = digits()
    first = nn.Conv2d(1, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU()
    second = nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    return fitted(nn.Sequential(*first, *second, *head), x, y, steps=1000, batch=64, decay=0.0)


NETS: dict[str, Callable[[str], Trained]] = {
    "timm test_efficientnet": lambda folder: of_timm("test_efficientnet.r160_in1k", folder),
    "transformers ResNet": lambda folder: of_transformers(
        "ResNet",
        folder,
        steps=250,
        lr=3e-3,
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[1, 1, 1],
        layer_type="basic",
    ),
    "GAN discriminator": discriminator,
    "timm mobilenetv3_small_050": lambda folder: of_timm("mobilenetv3_small_050", folder),
    "timm test_resnet": lambda folder: of_timm("test_resnet", folder),
    "timm test_byobnet": lambda folder: of_timm("test_byobnet", folder),
    "transformers RegNet": lambda folder: of_transformers(
        "RegNet", folder, embedding_size=16, hidden_sizes=[16, 32, 64, 96], depths=[1, 1, 2, 1], groups_width=8
    ),
    "transformers MobileNetV2": lambda folder: of_transformers(
        "MobileNetV2", folder, image_size=32, depth_multiplier=0.35, output_stride=8
    ),
    "monai DenseNet": densenet,
    "digits MLP, ReLU": lambda folder: multilayer(nn.ReLU, 1000),
    "digits MLP, softplus": lambda folder: multilayer(nn.Softplus, 1000),
    "digits MLP, short": lambda folder: multilayer(nn.ReLU, 60),
    "digits CNN": lambda folder: convolutional(),
    "4-conv net of D5": lambda folder: of_d5("cnn", folder),
    "residual net of D5": lambda folder: of_d5("resnet", folder),
}
