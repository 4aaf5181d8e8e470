"""A look at the first batch and at the targets, before anything is measured."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.errors import LossError
from bnlens.measure._intercept import Handler
from bnlens.measure._population import normalise_by_batch
from bnlens.measure._probe import Probe, default_forward, target_of
from bnlens.measure._ranks import agreeing, gather
from bnlens.measure._repeat import Repeat, run_again

__all__ = ["by_running_statistics", "call_path", "count_targets", "first_look"]


def first_look(probe: Probe, layers: dict[str, _BatchNorm]) -> tuple[Handler | None, Repeat]:
    """Check loss and outputs on the first batch, and run it again.

    Returns:
        A handler that runs the layers as in eval mode, if all of them allow that, and what the second run showed.
    """
    handler, batch = by_running_statistics(layers), next(probe.pool.shard(probe.batch_size))
    with torch.no_grad():
        output, target = probe.outputs(batch, handler)
        probe.loss.check(output, target)
    repeat = run_again(probe, batch, handler, output, target)
    return None if any(layer.running_mean is None for layer in layers.values()) else handler, repeat


def count_targets(probe: Probe, handler: Handler) -> None:
    """Tell a loss that is a weighted mean how much the targets of all ranks' samples weigh, in one sweep over the targets.

    Raises:
        LossError: all targets are ignored.
    """
    found: list[Tensor | None] = []
    with agreeing(), torch.no_grad():
        if probe.loss.is_weighted_mean:
            for batch in probe.pool.shard(probe.batch_size):
                known = probe.forward is default_forward
                target = target_of(batch.data) if known else probe.outputs(batch, handler)[1]
                found.append(probe.loss.counts(target))
    totals = gather([float(counts.sum()) for counts in found if counts is not None])
    if any(totals):
        probe.loss.terms = sum(map(sum, totals)) / len(probe.pool)
        if probe.loss.terms == 0:
            raise LossError("all targets are ignored, or of class weight 0; give labels that count")


def by_running_statistics(layers: dict[str, _BatchNorm]) -> Handler:
    """Return a handler that does what the layers do in eval mode."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        layer = layers[call_path(name)]
        mean, variance = layer.running_mean, layer.running_var
        if mean is None or variance is None:
            return normalise_by_batch(name, h, gamma, beta, eps)
        return F.batch_norm(h, mean.to(gamma.dtype), variance.to(gamma.dtype), gamma, beta, False, 0.0, eps)

    return handle


def call_path(name: str) -> str:
    """Return the path of the module that a call, ``path#2`` say, is of."""
    return name.partition("#")[0]
