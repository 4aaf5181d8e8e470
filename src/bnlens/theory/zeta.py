"""The paper's zeta, the coefficient of gamma decay: the gap of batch normalization is about zeta gamma^2.

The noise of the batch mean moves the output as a shift beta does, that of the batch standard deviation as the scale gamma
does, and each costs half its variance times the curvature of the loss there. Source: arXiv 1809.00846, Theorem 1; theory
sheet A.2.
"""

from __future__ import annotations

from typing import Any, Literal

from bnlens._arguments import checked
from bnlens.theory._check import BatchSizes

__all__ = ["paper_zeta", "zeta"]


def zeta(var_mean: Any, var_std: Any, H_bb: Any, H_gg: Any) -> Any:
    """Return zeta = (Var[mu_B] H_bb + Var[sigma_B] H_gg) / 2, nats per sample.

    For M samples of a standardised pre-activation the variances are 1/M and (rho + 2)/(4M), which makes it the paper's
    [H_bb/2 + (rho + 2) H_gg/8] / M. It is arithmetic alone: the arguments are numbers, arrays or tensors that broadcast, and
    the result is of their kind.

    Args:
        var_mean: variance of the batch mean.
        var_std: variance of the batch standard deviation.
        H_bb: second derivative of the mean loss in the shift beta; for a log-likelihood the Fisher information serves.
        H_gg: that in the scale gamma.

    >>> M, K = 8, 2  # K = rho + 2 is 2 for a Gaussian
    >>> zeta(1 / M, K / (4 * M), H_bb=1, H_gg=1)
    0.09375
    """
    return (var_mean * H_bb + var_std * H_gg) / 2


@checked
def paper_zeta(unit: Literal["linear", "relu"], batch_size: BatchSizes) -> Any:
    """Return the paper's zeta of a ``"linear"`` or ``"relu"`` unit with squared loss: 3/(4M), 3/(8M); M may be an array.

    Inputs are Gaussian. The ReLU value is that of the Gauss-Newton Hessian at beta = 0: half of the inputs pass.

    >>> paper_zeta("linear", 8), paper_zeta("relu", 8)
    (0.09375, 0.046875)
    """
    passed = {"linear": 1.0, "relu": 0.5}[unit]
    return zeta(1.0, 0.5, passed, passed) / batch_size
