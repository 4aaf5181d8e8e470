"""The process a run is in: its device, its precision, and the other processes that share the work, by accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeAlias, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bnlens.errors import UsageError
from bnlens.train._optional import require
from bnlens.train.evaluate import device_of

__all__ = ["Precision", "Process", "entered"]

Precision: TypeAlias = Literal["no", "bf16", "fp16"]

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


class Process:
    """One of the processes that train a model together, often the only one.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        device: where the model and its images are.
    """

    def __init__(self, accelerator: Any, device: torch.device) -> None:
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index
        self.count: int = accelerator.num_processes
        self.device = device

    def prepare(self, module: nn.Module) -> nn.Module:
        """Return ``module`` with its gradients averaged over the processes and, if asked for, under autocast."""
        return cast("nn.Module", self._accelerator.prepare_model(module, device_placement=False))

    def prepare_optimizer(self, optimizer: torch.optim.Optimizer) -> Any:
        """Return ``optimizer`` with a loss scaler where the precision needs one."""
        return self._accelerator.prepare_optimizer(optimizer, device_placement=False)

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler of float16."""
        return cast("torch.amp.GradScaler | None", self._accelerator.scaler)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss`` to those of the parameters."""
        self._accelerator.backward(loss)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within it, gradients add up in this process only."""
        return cast("AbstractContextManager[None]", self._accelerator.no_sync(module))

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over the processes, the same on each."""
        return float(self._accelerator.reduce(value, "mean") if self.count > 1 else value)

    def gathered(self, value: Any) -> list[Any]:
        """Return the objects of all processes, in their order, on each."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first."""
        if self.count > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Return when every process has come here."""
        self._accelerator.wait_for_everyone()


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
    grouped = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
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
    values: dict[str, int] = {}
    if grouped and "LOCAL_RANK" not in os.environ:
        values = dict(
            zip(_RANK_VARIABLES, (dist.get_rank(), dist.get_rank(), *[dist.get_world_size()] * 2), strict=True)
        )
    before = {name: os.environ.get(name) for name in (*_RANK_VARIABLES, "MASTER_PORT")}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
