"""One model, one pool of samples and one loss, run under any choice of normalisation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bnlens._masks import Mask
from bnlens.errors import DataError, ModelError
from bnlens.measure._intercept import Handler, Interceptor
from bnlens.measure._loss import SampleLoss
from bnlens.measure._own_code import running
from bnlens.measure._pool import Batch, Pool
from bnlens.measure._rows import Average, SampleRows

__all__ = ["Forward", "Probe", "default_forward", "run_inputs", "target_of"]

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]

_TARGET_KEYS = ("labels", "label", "targets", "target", "y")


def default_forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Run ``model`` on one batch of the loader and return (output, target).

    A batch is a tuple or list whose last element is the target, or a dict with the target under ``labels``, ``label``,
    ``targets``, ``target`` or ``y``. One remaining value of a dict is passed by position, several by keyword. Of an output
    with a field ``logits``, that field is used.

    Raises:
        DataError: the batch has no target, or the model does not take its inputs.
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
    target = target_of(batch)
    if not isinstance(output, Tensor):
        output = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
        if not isinstance(output, Tensor):
            raise ModelError(
                "the model returns neither a tensor nor an object with logits; pass forward=(model, batch) -> (output, target)"
            )
    return output, target


def target_of(batch: Any) -> Any:
    """Return the target of a batch, where `default_forward` finds it."""
    return batch[_target_key(batch)] if isinstance(batch, Mapping) else batch[-1]


def run_inputs(model: nn.Module, batch: Any) -> Any:
    """Run ``model`` on the inputs of a batch: all but the target, which a dict need not have, nor a tuple of one.

    Raises:
        DataError: the model takes other arguments.
    """
    last = target_of(batch) if isinstance(batch, tuple | list) and len(batch) > 1 else None
    if isinstance(last, int | float) or (isinstance(last, Tensor) and not last.ndim):
        raise DataError(
            "a batch of the loader has a single number for its targets, as one sample has; wrap the dataset, as in "
            "torch.utils.data.DataLoader(dataset, batch_size=64)"
        )
    positional: Sequence[Any] = (batch,)
    named: dict[str, Any] = {}
    if isinstance(batch, Mapping):
        key = _target_key(batch)
        inputs = {name: value for name, value in batch.items() if name != key}
        positional, named = (tuple(inputs.values()), {}) if len(inputs) == 1 else ((), inputs)
    elif isinstance(batch, tuple | list):
        positional = batch[:-1] if len(batch) > 1 else batch
    try:
        return model(*positional, **named)
    except TypeError as error:
        if (misfit := _misfit(model, positional, named)) is None:
            raise
        raise misfit from error


def _misfit(model: nn.Module, positional: Sequence[Any], named: Mapping[str, Any]) -> DataError | None:
    """Return the error of inputs that are not the model's arguments; None if they are."""
    try:
        inspect.signature(model.forward).bind(*positional, **named)
    except TypeError as error:
        given = sorted(named) if named else f"{len(positional)} by position"
        return DataError(
            f"{type(model).__name__} does not take the inputs of a batch, {given} ({error}); leave out of the batches what is "
            "no input, or pass forward=, which chooses them"
        )
    return None


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
        graph_rows: samples per pass that keeps what its backward needs, at most ``batch_size``; 0 for as many.
        stochastic: whether two passes over the same samples differ.
        rows: whose the rows of BN layers' inputs are.
        mask: from a batch to its mask, see `bnlens.masked`; None where samples are not padded.
    """

    model: nn.Module
    interceptor: Interceptor
    pool: Pool
    loss: SampleLoss
    forward: Forward
    batch_size: int
    graph_rows: int = 0
    stochastic: bool = False
    rows: SampleRows = field(default_factory=SampleRows)
    mask: Callable[[Any], Mask] | None = None

    def outputs(self, batch: Batch, handler: Handler) -> tuple[Tensor, Any]:
        """Return the output, float32 or wider, and target of a batch.

        Raises:
            ModelError: the output, or the input of a BN layer, does not have one row per sample.
            UsageError: the mask does not fit the input of a BN layer.
        """
        whose = self.rows.whose(batch)
        mask = None if self.mask is None else self.mask(batch.data)
        handling = self.interceptor.handling(self.rows.arranged(handler, batch.size, whose), mask)
        with handling, running(self.model, batch.data):
            result = self.forward(self.model, batch.data)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ModelError(f"forward returns {_shape(result)}; return the pair (output, target)")
        output, target = result
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != batch.size:
            by_row = whose is not None and isinstance(output, Tensor) and output.ndim and len(output) == len(whose)
            fix = ", the mean over its rows, say, by forward=(model, batch) -> (output, target)" if by_row else ""
            raise ModelError(
                f"the model returns {_shape(output)} for {batch.size} samples; return a tensor with one row per sample{fix}"
            )
        # a loss in bfloat16 has three digits, too few for a gap
        return output.to(torch.promote_types(output.dtype, torch.float32)), target

    @torch.no_grad()
    def losses(self, batch: Batch, handler: Handler, watch: Callable[[Tensor], None] = lambda output: None) -> Tensor:
        """Return the loss of each sample, (N,), float64, on the CPU, from one forward pass, whose output ``watch`` sees."""
        output, target = self.outputs(batch, handler)
        watch(output)
        return self.loss.per_sample(output, target).double().cpu()

    def average(self, count: int) -> Average:
        """Return what averages over each sample's part of the BN call at hand, which has ``count`` values in the pool."""
        return self.rows.average(count / len(self.pool))


def _shape(output: Any) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
