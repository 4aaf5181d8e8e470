"""Optimizers and schedules by name, and the learning rates they start from."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import nn

from bnlens.errors import ModelError

__all__ = ["OptimizerName", "Schedule", "build_optimizer", "default_lr", "learning_rate_factor"]

OptimizerName: TypeAlias = Literal["sgd", "adam"]
Schedule: TypeAlias = Literal["cosine", "step", "constant"]

_ADAM_BETA2 = 0.999
_DROPS = (0.5, 0.75)  # shares of the run after which the step schedule divides by ten


def default_lr(optimizer: OptimizerName, batch_size: int) -> float:
    """Return the largest learning rate of a run that names none: for SGD in proportion to the batch (Goyal et al. 2017).

    >>> default_lr("sgd", 256), default_lr("sgd", 64), default_lr("adam", 64)
    (0.3, 0.075, 0.001)
    """
    return 0.3 * batch_size / 256 if optimizer == "sgd" else 1e-3


def learning_rate_factor(step: int, steps: int, warmup_steps: int, schedule: Schedule = "cosine") -> float:
    """Return the share of the largest learning rate at ``step`` (from 0): a linear rise times the schedule.

    ``min(1, (step + 1) / warmup_steps)`` times ``(1 + cos(pi step / steps)) / 2``, or 1, 1/10 from half of the run on and
    1/100 from three quarters on, or 1.

    >>> [round(learning_rate_factor(step, 4, 2), 3) for step in range(4)]
    [0.5, 0.854, 0.5, 0.146]
    >>> [round(learning_rate_factor(step, 4, 0, "step"), 3) for step in range(4)]
    [1.0, 1.0, 0.1, 0.01]
    """
    rise = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "cosine":
        return rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    if schedule == "step":
        return rise / 10.0 ** sum(step >= share * steps for share in _DROPS)
    return rise


def build_optimizer(
    model: nn.Module, optimizer: OptimizerName, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return torch's SGD (``momentum`` is the heavy ball's) or Adam (``momentum`` is beta 1, beta 2 is 0.999).

    Weight decay is added to the gradient, in Adam too, of parameters of two dimensions or more.

    Raises:
        ModelError: no parameter requires a gradient.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ModelError("the model has no parameter that requires a gradient; set requires_grad on those to train")
    decayed, others = ([p for p in trained if (p.ndim >= 2) == wide] for wide in (True, False))
    by_decay: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in by_decay if group["params"]]
    if optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    return torch.optim.Adam(groups, lr=lr, betas=(momentum, _ADAM_BETA2))
