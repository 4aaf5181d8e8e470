"""One value per channel in training, which only a window that holds others can normalise."""

from __future__ import annotations

import torch
from torch import Tensor

from bnlens.errors import UsageError

__all__ = ["refuse_one_value"]


def refuse_one_value(x: Tensor, window: Tensor | None = None) -> None:
    """Raise UsageError for ``x`` (N, C, ...), whose batch has one value per channel, unless ``window`` (4, C) holds a batch.

    Compiled code learns only while it runs whether it does, and then raises RuntimeError.
    """
    message = (
        f"got one value per channel in training, input shape {tuple(x.shape)}; its normalised value is always zero and "
        "it would pass no gradient: give more samples (drop_last=True), freeze the layer, or set a statistics_batch_size, "
        "whose window takes one value once it holds an earlier batch"
    )
    if window is None:
        raise UsageError(message)
    if torch.compiler.is_compiling():
        torch._assert_async(window[2, 0] > 0, message)
    elif not window[2, 0]:
        raise UsageError(message)
