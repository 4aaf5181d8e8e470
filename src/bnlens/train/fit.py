"""Training in which batch normalization sees a chosen number of images, whatever the optimizer's batch."""

from __future__ import annotations

import math
import warnings
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
from bnlens.nn import set_statistics_batch_size
from bnlens.train.data import ImageData, loader
from bnlens.train.evaluate import cross_entropy, device_of, restored_modes

__all__ = ["History", "ProgressCallback", "Regulariser", "fit"]

ProgressCallback: TypeAlias = Callable[[int, int, float], None]
"""Called after each step with the steps done, the steps in all, and the step's loss."""

Regulariser: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images to the model's logits and a penalty, such as `bnlens.nn.CurvaturePenalty`."""


@dataclass(frozen=True)
class History:
    """What happened in training, one entry per optimizer step.

    Attributes:
        loss: mean cross-entropy of the step's batch as it was trained on, without a penalty and before the step, nats per
            sample.
        learning_rate: of the step.
        statistics_batch_size: images that the statistics of each BN layer are over.
        batch_size: images per step.
        device_batch_size: images per forward pass.
    """

    loss: tuple[float, ...]
    learning_rate: tuple[float, ...]
    statistics_batch_size: float
    batch_size: int
    device_batch_size: int

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.loss)

    def __repr__(self) -> str:
        return (
            f"History(steps={self.steps}, loss={self.loss[0]:.3f} -> {self.loss[-1]:.3f}, "
            f"statistics_batch_size={self.statistics_batch_size}, batch_size={self.batch_size}, "
            f"device_batch_size={self.device_batch_size})"
        )


def fit(
    model: nn.Module,
    data: ImageData,
    *,
    statistics_batch_size: float = 16,
    device_batch_size: int | None = None,
    batch_size: int = 256,
    epochs: int = 10,
    steps: int | None = None,
    lr: float = 0.3,
    warmup_steps: int = 10,
    weight_decay: float = 5e-4,
    regulariser: Regulariser | None = None,
    recalibrate: bool = True,
    seed: int = 0,
    progress: bool | ProgressCallback | None = None,
) -> History:
    """Train a classifier in place by SGD with momentum 0.9 on the mean cross-entropy.

    Each step accumulates the gradient over micro-batches of ``device_batch_size`` images. By default these are of
    ``statistics_batch_size``, so that BN layers of any kind normalise with the statistics of exactly that many, while the
    optimizer averages over ``batch_size``. With another ``device_batch_size`` the layers must be those of `bnlens.nn`,
    whose statistics batch size is set. The learning rate rises linearly over ``warmup_steps`` and then follows a cosine to
    zero. Weight decay acts on weights of two dimensions or more, never on gamma, beta and biases. Images that do not fill a
    batch sit out an epoch, others in the next.

    With ``recalibrate``, the running statistics end as the population's, by `bnlens.recalibrate`; otherwise they stay the
    moving averages, which lag and carry the noise of the last few micro-batches.

    The result depends on ``seed`` and the initial weights alone (on a CPU, at one number of threads); torch's global
    generator and the modules' modes are left as they were.

    Args:
        model: maps images (N, C, H, W) to logits (N, K); trained on the device it is on.
        data: the training images.
        statistics_batch_size: M, images that the statistics of BN are over, 2 or more; ``math.inf`` needs
            ``device_batch_size``.
        device_batch_size: images per forward pass; ``statistics_batch_size`` when not given. Below a quarter of M
            the layers' warning is not shown.
        batch_size: images per optimizer step, a multiple of the images per forward pass.
        epochs: passes over the data.
        steps: optimizer steps; replaces ``epochs``.
        lr: largest learning rate.
        warmup_steps: length of the linear rise, cut to the number of steps.
        weight_decay: coefficient of the squared weights' half.
        regulariser: runs the model in place of ``model(images)`` and returns logits and a penalty to add to the loss.
        recalibrate: recompute the running statistics at the end.
        seed: of the order of the images and of any dropout.
        progress: True draws a progress bar on standard error; a function is called after each step with the steps done,
            the steps in all and the loss.

    Raises:
        UsageError: a number is out of range, ``batch_size`` is no multiple of the images per forward pass, or these are
            not M and the model has no BN layer of `bnlens.nn`.
        DataError: the images do not fill one batch.
        LossError: the loss is not finite; the message names the step.
        ModelError: the output does not fit the labels, or no parameter requires a gradient.
    """
    micro = _micro_batch(statistics_batch_size, device_batch_size, batch_size)
    _check(epochs, steps, lr, warmup_steps, weight_decay)
    if len(data) < batch_size:
        raise DataError(f"{data.name} has {len(data)} images, fewer than one batch of {batch_size}; lower batch_size")
    total = epochs * (len(data) // batch_size) if steps is None else steps
    if device_batch_size is not None:
        set_statistics_batch_size(model, statistics_batch_size)
    run = model if regulariser is None else regulariser
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
            model.zero_grad(set_to_none=True)
            losses.append(_accumulate(run, images, labels, micro, data))
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
    return History(tuple(losses), tuple(rates), statistics_batch_size, batch_size, micro)


def learning_rate_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the largest learning rate at ``step`` (from 0): linear rise, then a cosine to zero.

    ``min(1, (step + 1) / warmup_steps) * (1 + cos(pi step / steps)) / 2``

    >>> [round(learning_rate_factor(step, 4, 2), 3) for step in range(4)]
    [0.5, 0.854, 0.5, 0.146]
    """
    rise = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _accumulate(
    run: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]], images: Tensor, labels: Tensor, micro: int, data: ImageData
) -> float:
    """Add the gradient of the batch's mean loss and penalty to ``.grad`` and return that loss."""
    share = micro / len(images)
    total = torch.zeros((), device=images.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "batches of .* for a statistics batch size of", UserWarning)
        for x, y in zip(torch.split(images, micro), torch.split(labels, micro), strict=True):
            result = run(x)
            logits, penalty = result if isinstance(result, tuple) else (result, 0.0)
            loss = cross_entropy(logits, y, data) * share
            (loss + share * penalty).backward()  # type: ignore[no-untyped-call]
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


def _micro_batch(statistics_batch_size: float, device_batch_size: int | None, batch_size: int) -> int:
    """Images per forward pass."""
    if not (statistics_batch_size >= 2 and statistics_batch_size in (math.inf, statistics_batch_size // 1)):
        raise UsageError(f"statistics_batch_size must be an int of at least 2, or inf, got {statistics_batch_size}")
    if device_batch_size is None and statistics_batch_size == math.inf:
        raise UsageError("statistics_batch_size is inf; give device_batch_size, the images per forward pass")
    micro = int(statistics_batch_size) if device_batch_size is None else device_batch_size
    name = "statistics_batch_size" if device_batch_size is None else "device_batch_size"
    if micro < 1 or batch_size < 1 or batch_size % micro:
        raise UsageError(f"batch_size must be a multiple of {name}, {micro}, got {batch_size}")
    return micro


def _check(epochs: int, steps: int | None, lr: float, warmup_steps: int, weight_decay: float) -> None:
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
