"""The part of `gpu.py` on claim E1: BN over M beside population normalization with gamma decay, in ResNet-18 on CIFAR-10.

All methods start from the same weights and take the same batches in the same order; the time decides how many. One seed: the
numbers show the speed, and the direction of the effect, not its size.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gpu_common import Clock, Turns
from rich.table import Table
from shared import table
from torch import nn

import bnlens
from bnlens.nn import GammaDecay
from bnlens.train import ImageData, build_net, evaluate, fit, load_data, loader

BATCH_SIZE, SEED = 256, 0
SIZES = (16, 64, 128)
PROBED = 12  # steps by which the speed is found, the first third left out
SETTLED = 2048  # images that the population statistics are taken over after training
EVALUATED = 10_000  # training images of the final loss, at most
MOST_EPOCHS = 30
SPENT = 0.8  # share of the time on steps; the rest is for statistics and evaluation


class Method(NamedTuple):
    """A way of normalising: torch's layers, BN over M, or population normalization, with gamma decay that stands for M."""

    label: str
    M: float | None  # None: torch's layers
    decay_for: int | None = None

    def __str__(self) -> str:
        return self.label


METHODS = (
    Method("PN", math.inf),
    *(
        method
        for M in SIZES
        for method in (Method(f"BN, M = {M}", M), Method(f"PN + gamma decay, M = {M}", math.inf, M))
    ),
    Method("torch's BN", None),
)


def noise(images: int, split: str) -> ImageData:
    """Ten random images under noise of their own size, in the shape of CIFAR-10; what there is to learn is little."""
    prototypes = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(SEED))
    generator = torch.Generator().manual_seed(SEED + (1 if split == "train" else 2))
    labels = torch.randint(10, (images,), generator=generator)
    pixels = 0.2 * prototypes[labels] + torch.randn(images, 3, 32, 32, generator=generator)
    return ImageData(pixels, labels, tuple(map(str, range(10))), "noise", split, (0.0,) * 3, (1.0,) * 3)


def data_of(folder: Path | None, device: str, *, small: bool) -> tuple[ImageData, ImageData]:
    """Training and test images, on the device."""
    counts = {"train": 256, "test": 128} if small else {"train": 50_000, "test": 10_000}
    train, test = (
        noise(count, split) if folder is None else load_data(folder, split=split, samples=count if small else None)
        for split, count in counts.items()
    )
    return moved(train, device), moved(test, device)


def moved(data: ImageData, device: str) -> ImageData:
    """The images on a device: one step's would take longer to get there than the step."""
    return replace(data, images=data.images.to(device), labels=data.labels.to(device))


class Stopwatch:
    """For `fit`'s ``progress``: when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())  # after the loss has come from the device

    def images_per_second(self) -> float:
        """Over the steps after the first third."""
        ends = self.ends[len(self.ends) // 3 :]
        return BATCH_SIZE * (len(ends) - 1) / (ends[-1] - ends[0])


class Trainer:
    """Trains the same net by any method.

    Args:
        data: training images, on the device.
        device: of torch.
        small: a net of few channels.
    """

    def __init__(self, data: ImageData, device: str, *, small: bool) -> None:
        self.data, self.device = data, device
        self.width = 4 if small else None
        self.precision = "no" if device == "cpu" else "bf16"

    def train(self, method: Method, steps: int) -> tuple[nn.Module, Stopwatch, tuple[float, ...]]:
        """A net trained for so many steps, the times, and the losses of the steps."""
        net = build_net("resnet18", input_shape=self.data.input_shape, num_classes=10, width=self.width, seed=SEED)
        net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        options: dict[str, Any] = {"statistics_batch_size": BATCH_SIZE}
        if method.M is not None:
            bnlens.convert(net)
            options = {"statistics_batch_size": method.M, "device_batch_size": BATCH_SIZE}
        if method.decay_for is not None:
            bnlens.set_statistics_batch_size(net, math.inf)
            options["regulariser"] = GammaDecay(net, method.decay_for)
        watch = Stopwatch()
        history = fit(
            net, self.data, **options, batch_size=BATCH_SIZE, steps=steps, precision=self.precision, recalibrate=False,
            seed=SEED, progress=watch,
        )  # fmt: skip
        return net, watch, history.loss


def first(data: ImageData, count: int) -> ImageData:
    return replace(data, images=data.images[:count], labels=data.labels[:count])


def row_of(method: Method, trainer: Trainer, steps: int, test: ImageData) -> dict[str, Any]:
    """Train, settle the running statistics, evaluate."""
    net, watch, losses = trainer.train(method, steps)
    bnlens.recalibrate(net, loader(first(trainer.data, SETTLED), BATCH_SIZE), progress=False)
    of_train, of_test = (evaluate(net, data) for data in (first(trainer.data, EVALUATED), test))
    last = losses[-max(1, len(losses) // 10) :]
    return {
        "method": method.label,
        "M": "inf" if math.inf == method.M else method.M,
        "gamma_decay_for": method.decay_for,
        "steps": steps,
        "images_per_second": watch.images_per_second(),
        "loss_of_last_steps": sum(last) / len(last),
        "train_loss": of_train.cross_entropy,
        "train_accuracy": of_train.accuracy,
        "test_loss": of_test.cross_entropy,
        "test_accuracy": of_test.accuracy,
    }


def plan_steps(trainer: Trainer, clock: Clock, *, small: bool) -> int:
    """Steps for each method that the time suffices for, from the speed of each in a few."""
    if small:
        return 3
    seconds = 0.0
    for method in METHODS:
        print(f"  speed of {method.label}", file=sys.stderr, flush=True)
        _, watch, _ = trainer.train(method, PROBED)
        seconds += BATCH_SIZE / watch.images_per_second()
    most = MOST_EPOCHS * (len(trainer.data) // BATCH_SIZE)
    return max(20, min(most, int(SPENT * clock.left() / seconds)))


def run(device: str, clock: Clock, *, small: bool, data: Path | None) -> dict[str, Any]:
    """Images per second, losses and accuracies of each method; what the time did not suffice for is ``left_out``."""
    train, test = data_of(data, device, small=small)
    trainer = Trainer(train, device, small=small)
    steps = plan_steps(trainer, clock, small=small)
    rows: list[dict[str, Any]] = []
    turns = Turns(clock)
    print(f"training: {steps} steps each", file=sys.stderr, flush=True)
    turns.over(METHODS, lambda method: rows.append(row_of(method, trainer, steps, test)), lambda method: steps)
    return {
        "data": train.name,
        "images": len(train),
        "test_images": len(test),
        "net": "resnet18",
        "width": trainer.width,
        "batch_size": BATCH_SIZE,
        "precision": trainer.precision,
        "seed": SEED,
        "rows": rows,
        "strength": strengths(rows),
        "left_out": turns.left_out,
        "errors": turns.errors,
    }


def strengths(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By M and loss, the share of the distance from PN to BN over M that PN with gamma decay covers; 1 is BN's."""
    by_label = {row["method"]: row for row in rows}
    found: dict[str, dict[str, float]] = {}
    for M in SIZES:
        labels = ("PN", f"BN, M = {M}", f"PN + gamma decay, M = {M}")
        if all(label in by_label for label in labels):
            pn, bn, decay = (by_label[label] for label in labels)
            found[str(M)] = {
                loss: (decay[loss] - pn[loss]) / (bn[loss] - pn[loss])
                for loss in ("train_loss", "test_loss")
                if bn[loss] != pn[loss]
            }
    return found


def show(found: dict[str, Any]) -> Table:
    """One line per method."""
    value: Callable[[float], str] = "{:.4f}".format
    shown = table(
        "method", "images/s", "steps", "train loss", "test loss", "test accuracy",
        title=f"ResNet-18 on {found['images']:,} images of {found['data']}, batch {found['batch_size']}, one seed",
    )  # fmt: skip
    for row in found["rows"]:
        numbers = value(row["train_loss"]), value(row["test_loss"]), f"{100 * row['test_accuracy']:.1f}%"
        shown.add_row(row["method"], f"{row['images_per_second']:,.0f}", str(row["steps"]), *numbers)
    return shown
