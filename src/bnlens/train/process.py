"""The process a run is in: its device, its precision, and the other processes that share the work, by accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bnlens._environment import environment
from bnlens._ranks import world
from bnlens.errors import UsageError
from bnlens.train._optional import require
from bnlens.train.evaluate import device_of

__all__ = ["Precision", "Process", "entered"]

Precision: TypeAlias = Literal["no", "bf16", "fp16"]

_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")


class Process:
    """One of the processes that train a model together, often the only one.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        device: where the model and its images are.
        accelerator: accelerate's, for what it does to the model, the optimizer and the loss.
    """

    def __init__(self, accelerator: Any, device: torch.device) -> None:
        self.accelerator = accelerator
        self.rank: int = accelerator.process_index
        self.count: int = accelerator.num_processes
        self.device = device

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over the processes, the same on each."""
        return float(self.accelerator.reduce(value, "mean") if self.count > 1 else value)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first."""
        if self.count > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)


@contextmanager
def entered(model: nn.Module, precision: Precision) -> Iterator[Process]:
    """Find the process's place among others, on the device that fits, and leave accelerate's own state as it was.

    One process trains the model where it lies. Under ``accelerate launch`` or ``torchrun``, or in an initialised process
    group, each trains its copy: on the GPU of its rank where a launcher started it on a machine that has one, else where
    the model lies. The group is left open.

    Raises:
        DataError: accelerate is not installed.
        UsageError: the precision does not fit the device, or the launcher asks for something other than data parallelism.
    """
    accelerate = require("accelerate", "fit", extra="")
    utils = require("accelerate.utils", "fit", extra="")
    grouped = world()[1] > 1
    launched = grouped or int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cpu = device_of(model).type == "cpu" and (grouped or not launched or not torch.cuda.is_available())
    if precision == "fp16" and on_cpu:
        raise UsageError('precision is "fp16", which needs a GPU; take "bf16" or "no" on a CPU')
    with _own_state(require("accelerate.state", "fit", extra="")), _ranks_of_group(grouped):
        accelerator = accelerate.Accelerator(
            cpu=on_cpu,
            mixed_precision=precision,
            # given as a plugin, or a variable of the launcher would scale the loss
            gradient_accumulation_plugin=utils.GradientAccumulationPlugin(num_steps=1),
            # each process keeps its own statistics unless the layers synchronise them
            kwargs_handlers=[utils.DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        kind = accelerator.distributed_type.value
        if not (kind == "NO" or kind.startswith("MULTI_")):
            raise UsageError(f"fit trains by data parallelism, and the launcher asks for {kind}; start it without")
        if accelerator.num_processes > 1 and not grouped:
            model.to(accelerator.device)
        yield Process(accelerator, device_of(model))


@contextmanager
def _own_state(state: Any) -> Iterator[None]:
    """Set aside the caller's state of accelerate, which keeps one for the program and refuses another precision in it."""
    shared = [getattr(state, name)._shared_state for name in ("PartialState", "AcceleratorState", "GradientState")]
    before = [dict(each) for each in shared]
    try:
        for each in shared:
            each.clear()
        yield
    finally:
        for each, content in zip(shared, before, strict=True):
            each.clear()
            each.update(content)


@contextmanager
def _ranks_of_group(grouped: bool) -> Iterator[None]:
    """Show accelerate a process group that was initialised by hand: it looks for a launcher's variables."""
    values: dict[str, str] = {}
    if grouped and "LOCAL_RANK" not in os.environ:
        rank, count = map(str, world())
        values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    with environment(values, *_LAUNCHER):
        yield
