"""The base of the explicit regularisers: the layers they act on, and a forward pass of the model with these watched."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from bnlens._arguments import AtLeastTwo, checked
from bnlens.errors import ModelError, UsageError
from bnlens.likelihood import Likelihood
from bnlens.nn._base import DialBatchNorm, Normalise

__all__ = ["Regulariser"]


class Regulariser(ABC):
    """Base of the explicit regularisers, for ``isinstance``.

    Args:
        model: the model; its population layers are those whose statistics batch size is ``math.inf``.
        statistics_batch_size: M, the batch size to regularise as.
        likelihood: of the loss: ``"cross_entropy"``, ``"binary_cross_entropy"`` (of logits) or ``"mean_squared_error"``.
        logits: from what the model returns to the tensor that the loss takes; by default the tensor itself, or its ``logits``.

    Raises:
        UsageError: M is no int of at least 2, the likelihood is unknown, or the model has no population layer.
        ModelError: (when called) the model returns something else than a tensor or an object with ``logits``.
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        statistics_batch_size: AtLeastTwo,
        *,
        likelihood: Likelihood = "cross_entropy",
        logits: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self.model: nn.Module = model
        self.statistics_batch_size: int = statistics_batch_size
        self.likelihood: Likelihood = likelihood
        self._logits: Callable[[Any], Tensor] = _find_logits if logits is None else logits
        self.layers: Mapping[str, DialBatchNorm] = {
            name or "(model)": layer
            for name, layer in model.named_modules()
            if isinstance(layer, DialBatchNorm) and layer.statistics_batch_size == math.inf
        }
        if not self.layers:
            raise UsageError(
                f"{type(model).__name__} has no population layer, to which {type(self).__name__} adds what batch statistics "
                "would; bnlens.convert(model, statistics_batch_size=math.inf) makes its BN layers such"
            )

    @checked
    @abstractmethod
    def __call__(self, *inputs: Any, **keywords: Any) -> tuple[Any, Tensor]:
        """Run the model and return its output and the penalty, nats per sample, a scalar; 0 in eval mode."""

    @contextmanager
    def _observed(self, observer: Callable[[str, DialBatchNorm], Normalise]) -> Iterator[None]:
        """Within this context the layers normalise by what ``observer`` gives for their name."""
        before = {layer: layer._renormalise for layer in self.layers.values()}
        try:
            for name, layer in self.layers.items():
                layer._renormalise = observer(name, layer)
            yield
        finally:
            for layer, normalise in before.items():
                layer._renormalise = normalise


def _find_logits(output: Any) -> Tensor:
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        raise ModelError(
            f"the model returns {type(output).__name__}, neither a tensor nor an object with logits; say where they are by "
            "logits="
        )
    return found
