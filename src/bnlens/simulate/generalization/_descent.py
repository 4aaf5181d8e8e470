"""Quasi-Newton descent, shared by the losses that have no direct solution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from bnlens.simulate.generalization.training_set import FloatArray

__all__ = ["descend"]

_STARTS = 6

Loss = Callable[[FloatArray], tuple[float, FloatArray]]


def descend(
    loss: Loss, start: FloatArray, *, tolerance: float, steps: int, flat: float = 0.0
) -> tuple[FloatArray, float]:
    """Minimise by L-BFGS and return the place and the largest entry of the gradient there.

    Near the minimum the line search fails on the rounding of the loss while the gradient still has digits; a fresh start
    there, without the memory of the curvature, goes on. It is repeated while it helps.

    Args:
        loss: from a place to the loss and its gradient.
        start: where to begin.
        tolerance: largest entry of the gradient to stop at. Rounding may stop the descent somewhat above it.
        steps: most iterations of one start.
        flat: relative decrease of the loss in one iteration to stop at, for losses with kinks, where the gradient does
            not vanish.
    """
    place, gradient = start, np.inf
    for _ in range(_STARTS):
        found = minimize(
            loss,
            place,
            jac=True,
            method="L-BFGS-B",
            options={"gtol": tolerance, "ftol": flat, "maxiter": steps, "maxfun": 2 * steps, "maxcor": 20},
        )
        last, now = gradient, float(np.max(np.abs(found.jac)))
        if now < gradient:
            place, gradient = np.asarray(found.x), now
        if flat > 0 or now <= tolerance or now > last / 2:
            break
    return place, gradient
