"""One model, one pool of samples and one loss, run under any choice of normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnlens.errors import DataError, LossError, ModelError
from bnlens.measure._intercept import Handler, Interceptor
from bnlens.measure._loss import SampleLoss
from bnlens.measure._pool import SamplePool

__all__ = ["Forward", "Probe", "default_forward"]

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]

_TARGET_KEYS = ("labels", "label", "targets", "target", "y")


def default_forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Run ``model`` on one batch of the loader and return (output, target).

    A batch is a tuple or list whose last element is the target, or a dict with the target under ``labels``, ``label``,
    ``targets``, ``target`` or ``y``. One remaining value of a dict is passed by position, several by keyword. Of an output
    with a field ``logits``, that field is used.

    Raises:
        DataError: the batch has no target.
        ModelError: the model returns neither a tensor nor something with ``logits``.
    """
    if isinstance(batch, Mapping):
        key = next((key for key in _TARGET_KEYS if key in batch), None)
        if key is None:
            raise DataError(
                f"a batch has keys {sorted(map(str, batch))} and no target; name one {_TARGET_KEYS[0]!r} or pass "
                "forward=(model, batch) -> (output, target)"
            )
        target = batch[key]
        inputs = {name: value for name, value in batch.items() if name != key}
        output = model(*inputs.values()) if len(inputs) == 1 else model(**inputs)
    elif isinstance(batch, tuple | list) and len(batch) >= 2:
        *args, target = batch
        output = model(*args)
    else:
        raise DataError(
            "a batch has no target; yield (inputs, targets) or pass forward=(model, batch) -> (output, target)"
        )
    if not isinstance(output, Tensor):
        output = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
        if not isinstance(output, Tensor):
            raise ModelError(
                "the model returns neither a tensor nor an object with logits; pass forward=(model, batch) -> (output, target)"
            )
    return output, target


class Probe:
    """Runs the model on samples of the pool with BN layers handled as asked; knows nothing of what is measured.

    Args:
        model: the module to call, in eval mode.
        interceptor: attached to the BN layers.
        pool: the samples.
        loss: per-sample loss.
        forward: ``(model, batch) -> (output, target)``.
        batch_size: samples per forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        interceptor: Interceptor,
        pool: SamplePool,
        loss: SampleLoss,
        forward: Forward,
        batch_size: int,
    ) -> None:
        self.model, self.interceptor, self.pool, self.loss = model, interceptor, pool, loss
        self.forward, self.batch_size = forward, batch_size
        first = next(model.parameters(), None)
        self.device = torch.device("cpu") if first is None else first.device

    def outputs(self, indices: Tensor, handler: Handler) -> tuple[Tensor, Any]:
        """Output and target of the samples at ``indices``.

        Raises:
            LossError: labels do not fit the outputs (torch's own message is kept).
        """
        with self.interceptor.handling(handler):
            output, target = self.forward(self.model, self.pool.take(indices, self.device))
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != len(indices):
            raise ModelError(
                f"the model returns {_shape(output)} for {len(indices)} samples; return a tensor with one row per sample"
            )
        return output, target

    @torch.no_grad()
    def losses(self, indices: Tensor, handler: Handler) -> Tensor:
        """Loss of each sample, (len(indices),), float64, on the CPU, from one forward pass."""
        output, target = self.outputs(indices, handler)
        try:
            return self.loss.per_sample(output, target).double().cpu()
        except (RuntimeError, IndexError, ValueError) as error:
            raise LossError(f"the loss cannot be computed from the model's output: {error}") from error


def _shape(output: Any) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
