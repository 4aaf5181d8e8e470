"""The gap as a curve over the batch size, through the sizes at which it was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.measure._estimate import Estimate

__all__ = ["CurvePoint", "is_heavy", "through"]

_MOST = 0.25  # of the value: a larger error says that there is no law
_PER_OCTAVE = 0.2  # error of one size scaled by f, for each doubling: what networks were seen to differ by
_HEAVY = 10.0  # excess kurtosis, above which no order is trusted


@dataclass(frozen=True)
class CurvePoint:
    """A gap predicted from gaps at other sizes, nats per sample.

    Attributes:
        gap: the value; its standard error has that of the measurements and the error of the curve.
        sizes: the M that it comes from.
    """

    gap: Estimate
    sizes: tuple[int, ...]

    @property
    def has_law(self) -> bool:
        """Whether the error is at most a quarter of the value."""
        return self.gap.stderr <= _MOST * abs(self.gap.value)


def is_heavy(kurtosis: float) -> bool:
    """Return whether tails of this excess kurtosis are heavy."""
    return kurtosis > _HEAVY


def through(
    sizes: Sequence[int],
    gaps: Sequence[float],
    covariance: Tensor,
    noise: Sequence[float],
    target: float,
    kurtosis: float = 0.0,
) -> CurvePoint:
    """Return a f + b f^2 at f = ``target``, through the nearest size on each side, or the two nearest on one.

    G / f is then a line through two points. Its error beside that of the measurements: how far a f + c f^1.5, the order
    next to kinks, would be from it, and beyond the sizes also how far the line moves when the second size gives way to the
    third. Where pre-activations have heavy tails no order is trusted, and half the change of
    G / f from one size to the other is error. One size alone is scaled by f, with 20% for each doubling of f.

    Args:
        sizes: at least one M; none of them that of ``target``, if the prediction is to be one.
        gaps: the gap at each, nats per sample.
        covariance: of the gaps, (n, n).
        noise: f at each: the variance of a batch mean over that of a sample.
        target: f.
        kurtosis: excess kurtosis of the pre-activations; tails are heavy above 10.
    """
    above = sorted((i for i, f in enumerate(noise) if f >= target), key=lambda i: noise[i])
    below = sorted((i for i, f in enumerate(noise) if f < target), key=lambda i: -noise[i])
    inside = bool(above and below)
    near = [above[0], below[0]] if inside else (above or below)[:3]
    values = torch.tensor(gaps, dtype=torch.float64)

    def weights(chosen: Sequence[int], basis: Callable[[float], float]) -> Tensor:
        """Return those of all gaps in the value at the target."""
        first, second = chosen
        part = (basis(target) - basis(noise[first])) / (basis(noise[second]) - basis(noise[first]))
        found = torch.zeros(len(gaps), dtype=torch.float64)
        found[first] = (1 - part) * target / noise[first]
        found[second] = part * target / noise[second]
        return found

    if len(near) == 1:
        (only,) = near
        scale = target / noise[only]
        model = _PER_OCTAVE * abs(math.log2(scale)) * scale * gaps[only] if scale else 0.0
        error = math.hypot(scale * math.sqrt(float(covariance[only, only])), model)
        return CurvePoint(Estimate(scale * gaps[only], error), (sizes[only],))
    pair = near[:2]
    line = weights(pair, lambda f: f)
    errors = [float((weights(pair, math.sqrt) - line) @ values)]
    if len(near) == 3:
        errors.append(float((weights(near[::2], lambda f: f) - line) @ values))
    if is_heavy(kurtosis):
        first, second = (gaps[i] / noise[i] for i in pair)
        errors.append(target * (first - second) / 2)
    error = math.hypot(math.sqrt(max(float(line @ covariance @ line), 0.0)), *errors)
    return CurvePoint(Estimate(float(line @ values), error), tuple(sorted(sizes[i] for i in pair)))
