"""The regime of a batch: groups of it, or a window that it is part of; by its size, or as the user fixed it."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from bnlens.errors import UsageError
from bnlens.nn._export import by_equal_groups
from bnlens.nn._ghost import group_sizes, normalise_by_groups
from bnlens.nn._graphs import is_exporting, is_tracing
from bnlens.nn._statistics import BatchStatistics, normalise_by_batch

__all__ = ["Regime", "by_window", "normalise_at_hand"]

Regime: TypeAlias = Literal["auto", "ghost", "window"]
"""``"auto"``: by the samples at hand; ``"ghost"``: groups of exactly M; ``"window"``: a window, of at most M at hand."""


def by_window(regime: Regime, samples: int, M: float | None) -> bool:
    """Return whether this many samples at hand are normalised by a window.

    Raises:
        UsageError: the regime is fixed, and M or the number of samples does not fit it.
    """
    if regime == "auto":
        return M is not None and samples < M
    if M is None or (regime == "ghost" and math.isinf(M)):
        needed = "an int" if regime == "ghost" else "an int or math.inf"
        raise UsageError(
            f"the regime is fixed to {regime!r}, which takes {needed} as statistics_batch_size, not {M}; set it, "
            "or regime='auto'"
        )
    if regime == "window":
        if samples > M:
            raise UsageError(
                f"a batch of {samples} samples is larger than the window of {M}, and the regime is fixed to 'window'; give at "
                f"most {M}, or set regime='auto'"
            )
        return True
    if samples % int(M):
        raise UsageError(
            f"a batch of {samples} samples is not made of ghost groups of {M}, and the regime is fixed to 'ghost'; give a "
            f"multiple of {M} (drop_last=True), or set regime='auto'"
        )
    return False


def normalise_at_hand(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, regime: Regime, M: float | None
) -> tuple[Tensor, BatchStatistics]:
    """Normalise ``x`` (N, C, ...) by its own statistics, in groups of M samples; return these of the whole batch too."""
    fixed = regime == "ghost"
    if (fixed and torch.compiler.is_compiling()) or ((fixed or M is None) and is_exporting()):
        return by_equal_groups(x, weight, bias, eps, None if M is None else int(M))
    samples = int(x.shape[0]) if is_tracing() else x.shape[0]
    sizes = [samples] if M is None else group_sizes(samples, int(M))
    if len(sizes) == 1:
        return normalise_by_batch(x, weight, bias, eps)
    return normalise_by_groups(x, weight, bias, eps, sizes)
