"""Gauss-Lobatto quadrature over [0, 1]: the nodes of the line from population statistics to those of a group."""

from __future__ import annotations

import functools
from collections.abc import Callable

from numpy.polynomial.legendre import Legendre

__all__ = ["enough_nodes", "lobatto"]

_FEWEST, _MOST = 3, 7
_RESIDUAL = 0.02
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


def enough_nodes(residual: Callable[[int], float]) -> int:
    """Return how many nodes to use: more while they help and the residual is above 2%.

    Args:
        residual: from a number of nodes to the rms of gap less sum of shares, over the rms of the gap, of some groups.
    """
    count, found = _FEWEST, residual(_FEWEST)
    while found > _RESIDUAL and count < _MOST:
        better = residual(count + 2)
        if not better < _GAIN * found:
            break
        count, found = count + 2, better
    return count
