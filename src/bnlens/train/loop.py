"""The training loop: steps over micro-batches, from where a checkpoint left off."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnlens._ranks import gather
from bnlens.errors import LossError
from bnlens.nn import DialBatchNorm, load_window_state, shared_statistics, window_state
from bnlens.train.batches import Batches
from bnlens.train.data import ImageData
from bnlens.train.evaluate import cross_entropy
from bnlens.train.process import Process
from bnlens.train.resume import RunCheckpoint, restore_tensors

__all__ = ["Loop", "Observer", "ProgressCallback", "Regulariser"]

Observer: TypeAlias = Callable[[int, int, float, nn.Module], None]
"""Called after each step with the steps done, the steps in all, the step's loss, and the model after it."""

ProgressCallback: TypeAlias = Callable[[int, int, float], None]
"""Called after each step with the steps done, the steps in all, and the step's loss."""

Regulariser: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images to the model's logits and a penalty, such as `bnlens.nn.CurvaturePenalty`."""


class _Objective(nn.Module):
    """The model or its regulariser as one module that accelerate can wrap; runs on micro-batches."""

    def __init__(self, model: nn.Module, regulariser: Regulariser | None) -> None:
        super().__init__()
        self.model = model
        self._regulariser = regulariser

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return logits and penalty."""
        return (self.model(images), 0.0) if self._regulariser is None else self._regulariser(images)


@dataclass
class Loop:
    """One run of steps.

    Attributes:
        model: trained in place, in train mode.
        data: what the batches are of.
        batches: this process's share of each batch.
        optimizer: as torch makes it.
        process: this one.
        learning_rate: from a step's number, from 0, to its learning rate.
        steps: in all.
        micro: images per forward pass.
        sharing: images that share statistics, M; ``micro`` where each forward pass has its own.
        regulariser: runs the model in its place.
        losses: of the steps done.
    """

    model: nn.Module
    data: ImageData
    batches: Batches
    optimizer: torch.optim.Optimizer
    process: Process
    learning_rate: Callable[[int], float]
    steps: int
    micro: int
    sharing: int
    regulariser: Regulariser | None = None
    losses: list[float] = field(default_factory=list)

    def run(
        self, *, observe: Observer | None, report: ProgressCallback, checkpoint: RunCheckpoint | None, every: int
    ) -> None:
        """Take the steps that are left.

        Raises:
            LossError: the loss is not finite; the message names the step.
        """
        if checkpoint is not None and (state := checkpoint.read()) is not None:
            self._restore(state)
        accelerator = self.process.accelerator  # leaves the device as it is
        objective = accelerator.prepare_model(_Objective(self.model, self.regulariser), device_placement=False)
        optimizer = accelerator.prepare_optimizer(self.optimizer, device_placement=False)
        while len(self.losses) < self.steps:
            step = len(self.losses)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(step)
            images, labels = self.batches.next()
            self.model.zero_grad(set_to_none=True)
            loss = self._accumulate(objective, images.to(self.process.device), labels.to(self.process.device))
            if not math.isfinite(loss):
                raise LossError(
                    f"the loss is {loss} at step {step + 1} of {self.steps}; lower lr, which is "
                    f"{self.optimizer.defaults['lr']:g}, or look for non-finite images"
                )
            optimizer.step()
            self.losses.append(loss)
            if observe is not None:
                observe(step + 1, self.steps, loss, self.model)
            report(step + 1, self.steps, loss)
            if checkpoint is not None and (step + 1) % every == 0 and step + 1 < self.steps:
                self._write(checkpoint)

    def _accumulate(self, objective: nn.Module, images: Tensor, labels: Tensor) -> float:
        """Add the gradient of the batch's mean loss and penalty to ``.grad`` and return that loss."""
        total, left = torch.zeros((), device=images.device), len(images)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "batches of .* for a statistics batch size of", UserWarning)
            for together, theirs in _split(images, labels, self.sharing):
                with nullcontext() if self.sharing == self.micro else shared_statistics(objective, together):
                    for x, y in _split(together, theirs, self.micro):
                        left -= len(x)
                        with self.process.accelerator.no_sync(objective) if left else nullcontext():
                            total += self._backward(objective, x, y, self.micro / len(images))
        return self.process.mean(total)

    def _backward(self, objective: nn.Module, images: Tensor, labels: Tensor, share: float) -> Tensor:
        """Add to ``.grad`` the gradient of a micro-batch's mean loss and penalty times ``share``, and return that loss."""
        logits, penalty = objective(images)
        loss = cross_entropy(logits, labels, self.data) * share
        self.process.accelerator.backward(loss + share * penalty)
        return loss.detach()

    def _write(self, checkpoint: RunCheckpoint) -> None:
        own = {
            "buffers": {name: buffer.detach().cpu() for name, buffer in self.model.named_buffers()},
            "windows": window_state(self.model) if _has_windows(self.model) else {},
            "generator": torch.get_rng_state(),
            "device generator": torch.cuda.get_rng_state(self.process.device) if self._on_cuda else None,
        }
        everyone = gather(own)
        if self.process.rank == 0:
            scaler = self.process.accelerator.scaler
            state = {
                "parameters": {name: parameter.detach() for name, parameter in self.model.named_parameters()},
                "processes": everyone,
                "optimizer": self.optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "batches": self.batches.state_dict(),
                "losses": list(self.losses),
            }
            checkpoint.write(state)

    def _restore(self, state: dict[str, Any]) -> None:
        own = state["processes"][self.process.rank]
        restore_tensors(self.model, {**state["parameters"], **own["buffers"]})
        if _has_windows(self.model):
            load_window_state(self.model, own["windows"])
        self.optimizer.load_state_dict(state["optimizer"])
        if (scaler := self.process.accelerator.scaler) is not None:
            scaler.load_state_dict(state["scaler"])
        self.batches.load_state_dict(state["batches"])
        self.losses[:] = state["losses"]
        torch.set_rng_state(own["generator"])
        if self._on_cuda:
            torch.cuda.set_rng_state(own["device generator"], self.process.device)

    @property
    def _on_cuda(self) -> bool:
        return self.process.device.type == "cuda"


def _has_windows(model: nn.Module) -> bool:
    return any(isinstance(layer, DialBatchNorm) for layer in model.modules())


def _split(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(images, size), torch.split(labels, size), strict=True)
