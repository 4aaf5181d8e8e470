"""Gauss-Lobatto quadrature over [0, 1]: the nodes of the line from population statistics to those of a group."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from numpy.polynomial.legendre import Legendre

__all__ = ["Residual", "enough_nodes", "lobatto"]

_FEWEST, _MOST = 3, 7
_SMALL, _LARGE = 0.02, 0.1
_BIAS = 0.05
_GAIN = 0.85  # two nodes more have to bring the residual below this part of what it was; next to kinks they may not


@functools.cache
def lobatto(count: int) -> tuple[tuple[float, float], ...]:
    """Return ``count`` (node, weight) in ascending order; exact for polynomials of degree 2 count - 3.

    Both ends are nodes: at t = 0 the gradients also make the control variate, and the pass at t = 1 measures the gap, so
    that either costs little more than the report needs anyway.

    >>> [(round(t, 3), round(weight, 3)) for t, weight in lobatto(3)]
    [(0.0, 0.167), (0.5, 0.667), (1.0, 0.167)]
    """
    polynomial = Legendre.basis(count - 1)
    nodes = [-1.0, *sorted(map(float, polynomial.deriv().roots())), 1.0]
    weights = [2 / (count * (count - 1) * float(polynomial(x)) ** 2) for x in nodes]
    return tuple(((1 + x) / 2, weight / 2) for x, weight in zip(nodes, weights, strict=True))


@dataclass(frozen=True)
class Residual:
    """The gap less the sum of the shares, over some groups.

    Attributes:
        rms: over that of the gap.
        mean: over the mean gap.
        stderr: of ``mean``.
    """

    rms: float
    mean: float = 0.0
    stderr: float = 0.0

    @classmethod
    def of(cls, count: int, left: float, left_squares: float, gap: float, gap_squares: float) -> Residual:
        """Return it from sums over ``count`` groups."""
        if not gap or not gap_squares:
            return cls(0.0)
        spread = math.sqrt(max(0.0, left_squares - left**2 / count) * count / max(1, count - 1))
        return cls(math.sqrt(left_squares / gap_squares), left / gap, spread / abs(gap))

    @property
    def is_small(self) -> bool:
        """Whether no more nodes are needed: below 2%, or below 10% where its mean is surely, by two standard errors, below 5%.

        Next to kinks the residual of a group has either sign. It then averages out over the groups of a report, each of which
        costs as many passes as there are nodes.
        """
        return self.rms <= _SMALL or (self.rms <= _LARGE and abs(self.mean) + 2 * self.stderr <= _BIAS)


def enough_nodes(residual: Callable[[int], Residual]) -> int:
    """Return how many nodes to use: more while they help and the residual is not small, from that of a number of nodes."""
    count, found = _FEWEST, residual(_FEWEST)
    while not found.is_small and count < _MOST:
        better = residual(count + 2)
        if not better.rms < _GAIN * found.rms:
            break
        count, found = count + 2, better
    return count
