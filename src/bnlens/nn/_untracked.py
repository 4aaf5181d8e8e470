"""Passes that move nothing: no running statistics, no count, no window."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._arguments import checked
from bnlens.nn._base import DialBatchNorm
from bnlens.nn._scope import scoped

__all__ = ["untracked"]


@checked
@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """Let the forward passes inside this context leave the state of the BN layers of ``model`` as it is.

    The outputs are those of training; neither running statistics, ``num_batches_tracked`` and ``skipped_batches`` nor windows
    and the past of :func:`bnlens.shared_statistics` move. A window has the batch in it for this pass and does not keep it. For
    passes on other samples, or at other weights, than the model is to be evaluated for: the second step of SAM, virtual
    adversarial training, attacks, pseudo-labels.

    It holds in the thread that enters it, for this model and not for copies made inside. torch's own BN layers are held too.

    Args:
        model: any model, or one layer.

    Example:
        >>> import bnlens.nn
        >>> layer, x = bnlens.nn.BatchNorm1d(3, statistics_batch_size=64), torch.randn(16, 3)
        >>> with untracked(layer):
        ...     _ = layer(x + 1)
        >>> int(layer.num_batches_tracked), layer.window_samples
        (0, 0.0)
    """
    ours, plain = [], []
    for layer in model.modules():
        if isinstance(layer, DialBatchNorm):
            ours.append(layer)
        elif isinstance(layer, _BatchNorm):
            plain.append((layer, layer.track_running_stats))
    pauses = []
    with scoped({layer: {"untracked": True} for layer in ours}):
        try:
            for torchs, tracks in plain:
                pauses.append(_Not(tracks.value if isinstance(tracks, _Not) else tracks))
                torchs.track_running_stats = pauses[-1]  # type: ignore[assignment]
            yield
        finally:
            for (torchs, tracks), pause in zip(plain, pauses, strict=False):
                torchs.track_running_stats, pause.over = tracks, True


class _Not:
    """In place of a truth value: false until it is over, in the thread that made it; copies and other threads have it."""

    def __init__(self, value: bool) -> None:
        self.value, self.thread, self.over = value, threading.get_ident(), False

    def __bool__(self) -> bool:
        if self.over or torch.compiler.is_compiling():
            return self.over and self.value
        return self.value and self.thread != threading.get_ident() and torch._C._current_graph_task_id() == -1

    def __deepcopy__(self, memo: Any) -> Any:
        return self.value

    def __reduce__(self) -> tuple[Any, ...]:
        return bool, (self.value,)

    def __repr__(self) -> str:
        return repr(self.value)
