"""One model, one pool of samples and one loss, run under any choice of normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnlens.errors import DataError, ModelError
from bnlens.measure._intercept import Handler, Interceptor
from bnlens.measure._loss import SampleLoss
from bnlens.measure._pool import Batch, Pool

__all__ = ["Forward", "Probe", "default_forward", "run_inputs"]

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
    if isinstance(batch, Mapping) and not _target_key(batch):
        raise DataError(
            f"a batch has keys {sorted(map(str, batch))} and no target; name one {_TARGET_KEYS[0]!r} or pass "
            "forward=(model, batch) -> (output, target)"
        )
    if not isinstance(batch, Mapping) and (not isinstance(batch, tuple | list) or len(batch) < 2):
        raise DataError(
            "a batch has no target; yield (inputs, targets) or pass forward=(model, batch) -> (output, target)"
        )
    output = run_inputs(model, batch)
    target = batch[_target_key(batch)] if isinstance(batch, Mapping) else batch[-1]
    if not isinstance(output, Tensor):
        output = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
        if not isinstance(output, Tensor):
            raise ModelError(
                "the model returns neither a tensor nor an object with logits; pass forward=(model, batch) -> (output, target)"
            )
    return output, target


def run_inputs(model: nn.Module, batch: Any) -> Any:
    """Run ``model`` on the inputs of a batch: all but the target, which a dict need not have, nor a tuple of one."""
    if isinstance(batch, Mapping):
        key = _target_key(batch)
        inputs = {name: value for name, value in batch.items() if name != key}
        return model(*inputs.values()) if len(inputs) == 1 else model(**inputs)
    if isinstance(batch, tuple | list):
        return model(*(batch[:-1] if len(batch) > 1 else batch))
    return model(batch)


def _target_key(batch: Mapping[Any, Any]) -> str | None:
    return next((key for key in _TARGET_KEYS if key in batch), None)


@dataclass
class Probe:
    """Runs the model on samples of the pool with BN layers handled as asked; knows nothing of what is measured.

    Attributes:
        model: the module to call, in eval mode.
        interceptor: attached to the BN layers.
        pool: the samples.
        loss: per-sample loss.
        forward: ``(model, batch) -> (output, target)``.
        batch_size: samples per forward pass.
    """

    model: nn.Module
    interceptor: Interceptor
    pool: Pool
    loss: SampleLoss
    forward: Forward
    batch_size: int

    def outputs(self, batch: Batch, handler: Handler) -> tuple[Tensor, Any]:
        """Return the output, float32 or wider, and target of a batch.

        Raises:
            ModelError: the output, or the input of a BN layer, does not have one row per sample.
        """
        with self.interceptor.handling(_by_row(handler, batch.size)):
            result = self.forward(self.model, batch.data)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ModelError(f"forward returns {_shape(result)}; return the pair (output, target)")
        output, target = result
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != batch.size:
            raise ModelError(
                f"the model returns {_shape(output)} for {batch.size} samples; return a tensor with one row per sample"
            )
        # a loss in bfloat16 has three digits, too few for a gap
        return output.to(torch.promote_types(output.dtype, torch.float32)), target

    @torch.no_grad()
    def losses(self, batch: Batch, handler: Handler) -> Tensor:
        """Return the loss of each sample, (batch.size,), float64, on the CPU, from one forward pass."""
        output, target = self.outputs(batch, handler)
        return self.loss.per_sample(output, target).double().cpu()


def _by_row(handler: Handler, size: int) -> Handler:
    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if len(h) != size:
            raise ModelError(
                f"layer {name!r} is given {len(h)} rows for {size} samples (time steps or views folded into dimension 0?); "
                "every BN layer must have one row per sample, further dimensions behind the channels"
            )
        return handler(name, h, gamma, beta, eps)

    return handle


def _shape(output: Any) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
