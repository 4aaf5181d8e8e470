"""A look at the first batch and at the targets, before anything is measured."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._ranks import gather
from bnlens.errors import LossError, ModelError
from bnlens.measure._folded import find_rows
from bnlens.measure._intercept import Handler
from bnlens.measure._probe import Probe, default_forward, target_of
from bnlens.measure._ranks import agreeing
from bnlens.measure._repeat import Repeat, run_again
from bnlens.measure._rows import SampleRows, UnknownRowsError
from bnlens.measure._running import by_running_statistics, evaluates_by_running_statistics

__all__ = ["count_targets", "first_look"]


def first_look(probe: Probe, layers: dict[str, _BatchNorm]) -> tuple[Handler | None, Repeat]:
    """Check loss and outputs on the first batch, and run it again.

    Where layers have several rows per sample and nothing says whose they are, ``probe.rows`` is set to what `find_rows` finds.

    Returns:
        A handler that runs the layers as in eval mode, if all of them allow that, and what the second run showed.
    """
    handler, batch = by_running_statistics(layers), next(probe.pool.shard(probe.batch_size))
    with torch.no_grad():
        try:
            output, target = probe.outputs(batch, handler)
        except UnknownRowsError as error:
            if (found := find_rows(probe, batch, handler)) is None:
                raise ModelError(str(error)) from None
            probe.rows = SampleRows(found)
            output, target = probe.outputs(batch, handler)
        probe.loss.check(output, target)
    repeat = run_again(probe, batch, handler, output, target)
    return handler if all(map(evaluates_by_running_statistics, layers.values())) else None, repeat


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
