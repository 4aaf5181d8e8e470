"""Optimizers and schedules by name, and the learning rates they start from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

import torch
from torch import nn

from bnlens.errors import ModelError

__all__ = [
    "ADAM_LR",
    "SGD_LR",
    "SGD_LR_BATCH",
    "OptimizerName",
    "Schedule",
    "build_optimizer",
    "default_lr",
    "learning_rate_factor",
    "set_learning_rate",
]

OptimizerName: TypeAlias = Literal["sgd", "adam"]
Schedule: TypeAlias = Literal["cosine", "step", "constant"]

SGD_LR = 0.3
"""Default learning rate of SGD at a batch of `SGD_LR_BATCH` images; at others in proportion (Goyal et al. 2017)."""
SGD_LR_BATCH = 256
ADAM_LR = 1e-3
"""Default learning rate of Adam, at every batch size."""

_ADAM_BETA2 = 0.999
_DROPS = (0.5, 0.75)  # shares of the run after which the step schedule divides by ten


def default_lr(optimizer: OptimizerName, batch_size: int) -> float:
    """Return the largest learning rate of a run that names none.

    >>> default_lr("sgd", 256), default_lr("sgd", 64), default_lr("adam", 64)
    (0.3, 0.075, 0.001)
    """
    return SGD_LR * batch_size / SGD_LR_BATCH if optimizer == "sgd" else ADAM_LR


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
    groups = _parameter_groups(model.parameters(), weight_decay)
    if optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    return torch.optim.Adam(groups, lr=lr, betas=(momentum, _ADAM_BETA2))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ModelError("the model has no parameter that requires a gradient; set requires_grad on those to train")
    groups: list[dict[str, object]] = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
