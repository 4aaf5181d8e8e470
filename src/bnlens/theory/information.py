"""The information about gamma as the paper estimates it: the average squared gradient of the loss in gamma."""

from __future__ import annotations

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory.distributions import Distribution, get_distribution
from bnlens.theory.units import UNITS, Unit, get_unit

__all__ = ["squared_gradient"]


@checked
def squared_gradient(unit: str | Unit, distribution: str | Distribution, *, gamma: float, beta: float = 0.0) -> float:
    """Return E[(dl/dgamma)^2] = E[(l'^2 + Var[t|x]) x^2], l' the slope of the expected loss, by quadrature.

    For a loss that is a negative log-likelihood it is the Fisher information, and so the Hessian H_gg of `GapLaw`, where the
    model is that of the teacher; elsewhere the two differ. Source: arXiv 1809.00846, Theorem 1, I(gamma); theory sheet A.2.

    Args:
        unit: a name or a `Unit`, whose targets have a known variance.
        distribution: a name or a `Distribution`.
        gamma: scale.
        beta: shift.

    Raises:
        UsageError: for an unknown name, or a unit whose targets have no known variance.

    >>> from bnlens.theory import gap_law
    >>> at = {"gamma": 1.5, "beta": 0.0}  # the optimum of this unit
    >>> abs(squared_gradient("softplus_glm", "gaussian", **at) - gap_law("softplus_glm", "gaussian", **at).H_gg) < 1e-9
    True
    """
    unit = get_unit(unit)
    if unit.target_variance is None:
        known = ", ".join(name for name, make in UNITS.items() if make().target_variance is not None)
        raise UsageError(f"the targets of unit {unit.name!r} have no known variance; choose one of {known}")
    x, weights = get_distribution(distribution).quadrature([])
    return float(weights @ ((unit.slope(gamma * x + beta, x) ** 2 + unit.target_variance(x)) * x**2))
