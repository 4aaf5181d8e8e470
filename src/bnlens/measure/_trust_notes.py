"""Notes on whether the numbers of a report speak of a trained network and of enough samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._results import Gaps, Note

__all__ = ["gap_notes", "weight_notes"]

_FEW = 5  # times M: fewer samples change the gap by more than a fifth


def weight_notes(layers: Iterable[_BatchNorm]) -> Iterator[Note]:
    """Yield a note where every BN layer with running statistics is as it was made."""
    counted = [layer for layer in layers if layer.running_mean is not None]
    if counted and all(map(_is_new, counted)):
        yield Note(
            "random weights",
            "",
            "no BN layer has seen a batch in train mode, and gamma and beta are those of new layers: the weights seem to be "
            "random, and no number here is that of a trained network; load trained weights first",
        )


def _is_new(layer: _BatchNorm) -> bool:
    initial: list[tuple[Tensor | None, Any]] = [
        (layer.running_mean, 0),
        (layer.running_var, 1),
        (layer.num_batches_tracked, 0),
        (layer.weight, None if layer.weight is None else layer.weight[:1]),  # one number; zero in some residual blocks
        (layer.bias, 0),
    ]
    return not any(bool((value != start).any()) for value, start in initial if value is not None)


def gap_notes(gaps: Gaps) -> Iterator[Note]:
    """Yield notes on a gap that is negative, and on a population too small for an M."""
    negative = {size: gap for size, gap in gaps.measured.items() if gap.value < -3 * gap.stderr}
    if negative:
        found = ", ".join(f"{gap} nats at M = {size}" for size, gap in negative.items())
        yield Note(
            "negative gap",
            "",
            f"the gap is negative, {found}: the statistics of a group give a lower loss than those of all samples, so that BN "
            "acts as no regulariser here; usual for random weights, losses that couple samples, and data or a loss that "
            "the network was not trained with: give those that it was trained with",
        )
    largest = max(gaps.measured)
    if gaps.population < _FEW * largest:
        below = (largest - 1) / (gaps.population - 1)
        yield Note(
            "few samples",
            "",
            f"{gaps.population} samples are few for M = {largest}: groups share so many of them that the gap is {below:.0%} "
            "below that of fresh samples, and its errors leave out which samples these are; give "
            f"{_FEW * largest} or more (max_samples counts too)",
        )
