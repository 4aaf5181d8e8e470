"""Training in which batch normalization sees a chosen number of images, whatever the optimizer's batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.errors import DataError, LossError, ModelError, UsageError
from bnlens.measure import recalibrate as recalibrate_statistics
from bnlens.train.data import ImageData, loader
from bnlens.train.evaluate import cross_entropy, device_of, restored_modes

__all__ = ["History", "ProgressCallback", "fit"]

ProgressCallback: TypeAlias = Callable[[int, int, float], None]
"""Called after each step with the steps done, the steps in all, and the step's loss."""


@dataclass(frozen=True)
class History:
    """What happened in training, one entry per optimizer step.

    Attributes:
        loss: mean cross-entropy of the step's batch under its batch statistics, before the step, nats per sample.
        learning_rate: of the step.
        statistics_batch_size: images that each BN layer saw at once.
        batch_size: images per step.
    """

    loss: tuple[float, ...]
    learning_rate: tuple[float, ...]
    statistics_batch_size: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.loss)

    def __repr__(self) -> str:
        return (
            f"History(steps={self.steps}, loss={self.loss[0]:.3f} -> {self.loss[-1]:.3f}, "
            f"statistics_batch_size={self.statistics_batch_size}, batch_size={self.batch_size})"
        )


def fit(
    model: nn.Module,
    data: ImageData,
    *,
    statistics_batch_size: int = 16,
    batch_size: int = 256,
    epochs: int = 10,
    steps: int | None = None,
    lr: float = 0.3,
    warmup_steps: int = 10,
    weight_decay: float = 5e-4,
    recalibrate: bool = True,
    seed: int = 0,
    progress: bool | ProgressCallback | None = None,
) -> History:
    """Train a classifier in place by SGD with momentum 0.9 on the mean cross-entropy.

    Each step accumulates the gradient over micro-batches of ``statistics_batch_size`` images, so that every BN layer
    normalises with the statistics of exactly that many, while the optimizer averages over ``batch_size``. The learning
    rate rises linearly over ``warmup_steps`` and then follows a cosine to zero. Weight decay acts on weights of two
    dimensions or more, never on gamma, beta and biases. Images that do not fill a batch sit out an epoch, others in
    the next.

    With ``recalibrate``, the running statistics end as the population's, by `bnlens.recalibrate`; otherwise they stay the
    moving averages, which lag and carry the noise of the last few micro-batches.

    The result depends on ``seed`` and the initial weights alone (on a CPU, at one number of threads); torch's global
    generator and the modules' modes are left as they were.

    Args:
        model: maps images (N, C, H, W) to logits (N, K); trained on the device it is on.
        data: the training images.
        statistics_batch_size: images that BN sees at once, 2 or more.
        batch_size: images per optimizer step, a multiple of ``statistics_batch_size``.
        epochs: passes over the data.
        steps: optimizer steps; replaces ``epochs``.
        lr: largest learning rate.
        warmup_steps: length of the linear rise, cut to the number of steps.
        weight_decay: coefficient of the squared weights' half.
        recalibrate: recompute the running statistics at the end.
        seed: of the order of the images and of any dropout.
        progress: True draws a progress bar on standard error; a function is called after each step with the steps done,
            the steps in all and the loss.

    Raises:
        UsageError: a number is out of range, or ``batch_size`` is no multiple of ``statistics_batch_size``.
        DataError: the images do not fill one batch.
        LossError: the loss is not finite; the message names the step.
        ModelError: the output does not fit the labels, or no parameter requires a gradient.
    """
    _check(statistics_batch_size, batch_size, epochs, steps, lr, warmup_steps, weight_decay)
    if len(data) < batch_size:
        raise DataError(f"{data.name} has {len(data)} images, fewer than one batch of {batch_size}; lower batch_size")
    total = epochs * (len(data) // batch_size) if steps is None else steps
    device = device_of(model)
    optimizer = torch.optim.SGD(_parameter_groups(model, weight_decay), lr=lr, momentum=0.9)
    losses, rates = [], []
    forked = [device] if device.type == "cuda" else []
    with restored_modes(model), torch.random.fork_rng(devices=forked), _report_to(progress) as report:
        torch.manual_seed(seed)
        model.train()
        for step, rows in zip(range(total), _batches(len(data), batch_size, seed), strict=False):
            rates.append(lr * learning_rate_factor(step, total, warmup_steps))
            for group in optimizer.param_groups:
                group["lr"] = rates[-1]
            images, labels = data.images[rows].to(device), data.labels[rows].to(device)
            losses.append(_accumulate(model, images, labels, statistics_batch_size, data))
            if not math.isfinite(losses[-1]):
                raise LossError(
                    f"the loss is {losses[-1]} at step {step + 1} of {total}; "
                    f"lower lr, which is {lr:g}, or look for non-finite images"
                )
            optimizer.step()
            report(step + 1, total, losses[-1])
        if recalibrate and any(isinstance(module, _BatchNorm) for module in model.modules()):
            recalibrate_statistics(model, loader(data, batch_size), progress=False)
        model.zero_grad(set_to_none=True)
    return History(tuple(losses), tuple(rates), statistics_batch_size, batch_size)


def learning_rate_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the largest learning rate at ``step`` (from 0): linear rise, then a cosine to zero.

    ``min(1, (step + 1) / warmup_steps) * (1 + cos(pi step / steps)) / 2``

    >>> [round(learning_rate_factor(step, 4, 2), 3) for step in range(4)]
    [0.5, 0.854, 0.5, 0.146]
    """
    rise = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _accumulate(model: nn.Module, images: Tensor, labels: Tensor, statistics_batch_size: int, data: ImageData) -> float:
    """Leave the gradient of the batch's mean loss in ``.grad`` and return that loss."""
    model.zero_grad(set_to_none=True)
    share = statistics_batch_size / len(images)
    total = torch.zeros((), device=images.device)
    for x, y in zip(
        torch.split(images, statistics_batch_size), torch.split(labels, statistics_batch_size), strict=True
    ):
        loss = cross_entropy(model(x), y, data) * share
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total.item()


def _batches(samples: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Rows of one batch after another, epoch after epoch, a new order in each."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(samples, generator=generator)
        yield from torch.split(order[: samples - samples % batch_size], batch_size)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ModelError("the model has no parameter that requires a gradient; set requires_grad on those to train")
    groups: list[dict[str, object]] = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _check(
    statistics_batch_size: int,
    batch_size: int,
    epochs: int,
    steps: int | None,
    lr: float,
    warmup_steps: int,
    weight_decay: float,
) -> None:
    if statistics_batch_size < 2:
        raise UsageError(f"statistics_batch_size must be at least 2, got {statistics_batch_size}")
    if batch_size < 1 or batch_size % statistics_batch_size:
        raise UsageError(
            f"batch_size must be a multiple of statistics_batch_size, {statistics_batch_size}, got {batch_size}"
        )
    if (epochs if steps is None else steps) < 1:
        raise UsageError(f"epochs and steps must be at least 1, got {epochs} and {steps}")
    for name, value in (("lr", lr), ("warmup_steps", warmup_steps), ("weight_decay", weight_decay)):
        if not (value >= 0 and math.isfinite(value)):
            raise UsageError(f"{name} must be finite and not negative, got {value}")


@contextmanager
def _report_to(progress: bool | ProgressCallback | None) -> Iterator[ProgressCallback]:
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _step, _steps, _loss: None
    else:
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task("training", loss=math.nan)
            yield lambda step, steps, loss: bar.update(task, completed=step, total=steps, loss=loss)
