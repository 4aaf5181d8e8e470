"""A number with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bnlens._arguments import checked
from bnlens.render import number

__all__ = ["Estimate", "mean_estimate"]


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, in the same unit.

    Attributes:
        value: the estimate.
        stderr: its standard error; nan where it is not known.
    """

    value: float
    stderr: float

    def __add__(self, other: Estimate) -> Estimate:
        """Return the sum with an independent estimate."""
        return Estimate(self.value + other.value, math.hypot(self.stderr, other.stderr))

    def __sub__(self, other: Estimate) -> Estimate:
        """Return the difference to an independent estimate."""
        return Estimate(self.value - other.value, math.hypot(self.stderr, other.stderr))

    def __mul__(self, factor: float) -> Estimate:
        """Return the estimate times an exact factor."""
        return Estimate(self.value * factor, self.stderr * abs(factor))

    @checked
    def times(self, other: Estimate) -> Estimate:
        """Return the product with an independent estimate, standard error by the delta method."""
        return Estimate(self.value * other.value, math.hypot(self.stderr * other.value, other.stderr * self.value))

    @checked
    def over(self, other: Estimate) -> Estimate:
        """Return the ratio to an independent estimate, standard error by the delta method.

        >>> Estimate(1.0, 0.03).over(Estimate(2.0, 0.08))
        Estimate(value=0.5, stderr=0.025)
        """
        if other.value == 0:
            return Estimate(math.nan, math.nan)
        ratio = self.value / other.value
        return Estimate(ratio, math.hypot(self.stderr, ratio * other.stderr) / abs(other.value))

    def __str__(self) -> str:
        return number(self.value, self.stderr)


def mean_estimate(values: Tensor) -> Estimate:
    """Return the mean of independent values (n,), with the standard error s / sqrt(n); nan error for fewer than two."""
    values = values.double()
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), error)
