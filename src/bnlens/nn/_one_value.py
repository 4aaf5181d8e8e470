"""One value per channel in training, which only a window that holds others can normalise."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.errors import UsageError
from bnlens.nn._window import is_sound

__all__ = ["holds_a_batch", "refuse_one_value"]


def refuse_one_value(x: Tensor, window: Tensor | None = None) -> None:
    """Raise UsageError for ``x`` (N, C, ...), whose batch has one value per channel, unless ``window`` (4, C) holds a batch.

    Compiled code learns only while it runs whether it does, and then raises RuntimeError.
    """
    message = (
        f"got one value per channel in training, input shape {tuple(x.shape)}; its normalised value is always zero and "
        "it would pass no gradient: give more samples (drop_last=True), freeze the layer, or set a statistics_batch_size, "
        "whose window takes one value once it holds an earlier batch"
    )
    if window is not None and torch.compiler.is_compiling():
        torch._assert_async(holds_a_batch(window), message)
    elif not holds_a_batch(window):
        raise UsageError(message)


def holds_a_batch(window: Tensor | None) -> Tensor:
    """Return whether ``window`` (4, C) is there, holds a batch, and will be used: one that is not finite is emptied first."""
    return torch.tensor(False) if window is None else is_sound(window) & (window[2, 0] > 0)
