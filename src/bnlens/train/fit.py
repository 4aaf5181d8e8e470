"""Training in which batch normalization sees a chosen number of images, whatever the optimizer's batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._arguments import AtLeastTwo, Count, Infinite, NotNegative, Range, Seed, Whole, checked
from bnlens._files import check_writable
from bnlens._progress import progress_bar
from bnlens._ranks import gather
from bnlens.errors import DataError, LossError
from bnlens.measure import recalibrate as recalibrate_statistics
from bnlens.nn import set_statistics_batch_size
from bnlens.train.arguments import check_processes, check_sharing, micro_batch
from bnlens.train.batches import Batches
from bnlens.train.data import ImageData
from bnlens.train.data import loader as loader_of
from bnlens.train.evaluate import restored_modes
from bnlens.train.history import History
from bnlens.train.loop import Loop, Observer, ProgressCallback, Regulariser
from bnlens.train.optimizer import OptimizerName, Schedule, build_optimizer, default_lr, learning_rate_factor
from bnlens.train.process import Precision, Process, entered
from bnlens.train.resume import RunCheckpoint, describe_function, describe_model

__all__ = ["fit"]

_RANK_SEEDS = 1_000_003  # between the seeds of processes that draw their own dropout


@checked
def fit(
    model: nn.Module,
    data: ImageData,
    *,
    statistics_batch_size: AtLeastTwo | Infinite = 16,
    device_batch_size: Count | None = None,
    share_statistics: bool = False,
    batch_size: Count = 256,
    epochs: Count = 10,
    steps: Count | None = None,
    optimizer: OptimizerName = "sgd",
    lr: NotNegative | None = None,
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9,
    schedule: Schedule = "cosine",
    warmup_steps: Whole = 10,
    weight_decay: NotNegative = 5e-4,
    regulariser: Regulariser | None = None,
    augment: bool = False,
    precision: Precision = "no",
    recalibrate: bool = True,
    seed: Seed = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: Count | None = None,
    observe: Observer | None = None,
    progress: bool | ProgressCallback | None = None,
) -> History:
    """Train a classifier in place on the mean cross-entropy, by SGD with momentum or Adam.

    Each step accumulates the gradient over micro-batches of ``device_batch_size`` images. By default these are of
    ``statistics_batch_size``, so that BN layers of any kind normalise with the statistics of exactly that many, while the
    optimizer averages over ``batch_size``. With another ``device_batch_size`` the layers must be those of `bnlens.nn`,
    whose statistics batch size is set. The learning rate rises linearly over ``warmup_steps`` and then follows the schedule.
    Weight decay, added to the gradient, acts on weights of two dimensions or more, never on gamma, beta and biases. Images
    that do not fill a batch sit out an epoch, others in the next.

    With ``recalibrate``, the running statistics end as the population's, by `bnlens.recalibrate`; otherwise they stay the
    moving averages, which lag and carry the noise of the last few micro-batches.

    One process trains the model on the device it is on. Under ``accelerate launch`` or ``torchrun``, or in an initialised
    process group, the processes share each batch (DistributedDataParallel): every ``processes * device_batch_size`` images
    of it are one forward pass of all. Each then has the same model, on its own device; statistics are each process's own
    unless the layers have ``sync=True``. What a function given as an argument does is done in each process.

    The result depends on ``seed`` and the initial weights alone (on a CPU, at one number of threads and processes); torch's
    global generator, accelerate's state and the modules' modes are left as they were.

    Args:
        model: maps images (N, C, H, W) to logits (N, K).
        data: the training images.
        statistics_batch_size: M, images that the statistics of BN are over, 2 or more; ``math.inf`` needs
            ``device_batch_size``.
        device_batch_size: images per forward pass of a process; ``statistics_batch_size`` when not given. Below a quarter of
            M the layers' warning is not shown.
        share_statistics: normalise each forward pass by the statistics of the M images it is part of, which one more pass
            finds (`bnlens.shared_statistics`); needs ``device_batch_size``, a divisor of M. Otherwise, with fewer images than M
            in a forward pass, by a window over the past.
        batch_size: images per optimizer step, a multiple of the images per forward pass of all processes.
        epochs: passes over the data.
        steps: optimizer steps; replaces ``epochs``.
        optimizer: ``"sgd"`` or ``"adam"``.
        lr: largest learning rate; when not given, ``0.3 * batch_size / 256`` for SGD and 0.001 for Adam.
        momentum: of SGD; beta 1 of Adam, whose beta 2 is 0.999.
        schedule: ``"cosine"`` to zero, ``"step"`` (a tenth from half of the run on, a hundredth from three quarters on) or
            ``"constant"``.
        warmup_steps: length of the linear rise, cut to the number of steps.
        weight_decay: coefficient of the squared weights' half.
        regulariser: runs the model in place of ``model(images)`` and returns logits and a penalty to add to the loss.
        augment: train on a random crop of each image, padded by an eighth of its size with the mean colour (4 pixels for
            CIFAR-10, 1 for the digits), flipped left to right in one of two.
        precision: ``"no"`` (float32), or the type of autocast, ``"bf16"`` or, on a GPU, ``"fp16"`` with a scaled loss. The
            running statistics are recalibrated in float32.
        recalibrate: recompute the running statistics at the end, on images that are not augmented.
        seed: of the order of the images, of the crops and of any dropout.
        checkpoint: a file that the state of the run is written to, whole or not at all, and that is removed when the run
            ends. A run that finds its file goes on from there and ends bit for bit where it would have without the cut. All
            processes must see the file.
        checkpoint_every: steps from one writing to the next; an epoch when not given.
        observe: called after each step with the steps done, the steps in all, the loss, and the model with the step's
            gradients still in ``.grad``. A step after the last checkpoint is observed again when the run goes on.
        progress: True shows how far it is on standard error; a function is called after each step with the steps done,
            the steps in all and the loss.

    Raises:
        UsageError: a number or a name is out of range, ``batch_size`` is no multiple of the images per forward pass, these
            are not M and the model has no BN layer of `bnlens.nn`, statistics cannot be shared, the precision needs a GPU, or
            the checkpoint is of another run; the message names what differs.
        DataError: the images do not fill one batch, or the checkpoint is damaged.
        LossError: the loss, or what the model computes after the last step, is not finite; the message names the step.
        ModelError: the output does not fit the labels, or no parameter requires a gradient.
        StoreError: the checkpoint cannot be written.
    """
    micro = micro_batch(statistics_batch_size, device_batch_size, batch_size)
    if share_statistics:
        check_sharing(statistics_batch_size, device_batch_size, regulariser)
    lr = default_lr(optimizer, batch_size) if lr is None else lr
    if len(data) < batch_size:
        raise DataError(f"{data.name} has {len(data)} images, fewer than one batch of {batch_size}; lower batch_size")
    if checkpoint is not None:
        check_writable(checkpoint)
    total = epochs * (len(data) // batch_size) if steps is None else steps
    with restored_modes(model), entered(model, precision) as process:
        sharing = int(statistics_batch_size) if share_statistics else micro
        check_processes(process.count, sharing, batch_size)
        if device_batch_size is not None:
            set_statistics_batch_size(model, statistics_batch_size)
        stepper = build_optimizer(model, optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay)
        run = None
        if checkpoint is not None:
            configuration = {
                **describe_model(model),
                "data": data.fingerprint,
                "statistics_batch_size": statistics_batch_size,
                "device_batch_size": micro,
                "share_statistics": share_statistics,
                "batch_size": batch_size,
                "steps": total,
                "optimizer": optimizer,
                "lr": lr,
                "momentum": momentum,
                "schedule": schedule,
                "warmup_steps": warmup_steps,
                "weight_decay": weight_decay,
                "regulariser": describe_function(regulariser),
                "augment": augment,
                "precision": precision,
                "seed": seed,
                "processes": process.count,
            }
            run = RunCheckpoint(Path(checkpoint), gather(configuration)[0])
        batches = Batches(
            data, batch_size, micro=sharing, augmented=augment, seed=seed, rank=process.rank, processes=process.count
        )

        def learning_rate(step: int) -> float:
            return lr * learning_rate_factor(step, total, warmup_steps, schedule)

        loop = Loop(model, data, batches, stepper, process, learning_rate, total, micro, sharing, regulariser)
        forked = [process.device] if process.device.type == "cuda" else []
        shown = progress if callable(progress) or process.rank == 0 else None
        with torch.random.fork_rng(devices=forked), _reporting(shown, total) as report:
            torch.manual_seed(seed + _RANK_SEEDS * process.rank)
            model.train()
            every = batches.per_epoch if checkpoint_every is None else checkpoint_every
            loop.run(observe=observe, report=report, checkpoint=run, every=every)
            _settle(model, data, batch_size, process, recalibrate)
        model.zero_grad(set_to_none=True)
        process.accelerator.wait_for_everyone()
        if run is not None and process.rank == 0:
            run.remove()
    rates = tuple(learning_rate(step) for step in range(total))
    return History(tuple(loop.losses), rates, statistics_batch_size, batch_size, micro)


@contextmanager
def _reporting(progress: bool | ProgressCallback | None, steps: int) -> Iterator[ProgressCallback]:
    """Yield the function to call after each step: the given one, or that of a bar, which shows for True alone."""
    if callable(progress):
        yield progress
        return
    with progress_bar(bool(progress), keep=True) as bar:
        bar.stage("training", steps)
        yield lambda step, steps, loss: bar.update(step, steps, note=f"loss {loss:.3f}")


def _settle(model: nn.Module, data: ImageData, batch_size: int, process: Process, recalibrate: bool) -> None:
    """Leave the same running statistics in every process: the population's, or the first one's averages."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if recalibrate and not all(getattr(layer, "frozen", False) for layer in layers):
        share = loader_of(data, batch_size, rank=process.rank, processes=process.count)
        try:
            recalibrate_statistics(model, share, progress=False)
        except DataError as error:  # the loader is not empty, so it is activations that are not finite
            raise LossError("the weights after the last step make activations that are not finite; lower lr") from error
    else:
        process.share_buffers(model)
