"""Standardised distributions of a pre-activation: density, moments, expectations by quadrature, sampling.

The three named ones span what the expansion has to cope with: Gaussian (the paper's case), Laplace (heavy tails) and
exponential (heavy tails and skew).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory._check import FloatArray, check_choice, normal_density

__all__ = ["DISTRIBUTIONS", "Distribution", "Population", "get_distribution"]

_PANEL_WIDTH = 0.5
_PANEL_NODES, _PANEL_WEIGHTS = np.polynomial.legendre.leggauss(20)


@checked
@dataclass(frozen=True)
class Distribution:
    """A density with zero mean and unit variance.

    Attributes:
        name: how messages and tables call it.
        density: p(x) inside the support, vectorised; see `density_at` for any point.
        lower: left end of the support, cut where the tail mass is below 1e-17.
        upper: right end, likewise.
        skewness: s = E x^3.
        excess_kurtosis: rho = E x^4 - 3.
        draw: draws independent values, `draw(generator, shape)`.
        breaks: points inside the support where the density is not smooth.

    >>> laplace = get_distribution("laplace")
    >>> round(laplace.expectation(lambda x: x**4), 10)
    6.0
    """

    name: str
    density: Callable[[FloatArray], FloatArray] = field(repr=False)
    lower: float
    upper: float
    skewness: float
    excess_kurtosis: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], FloatArray] = field(repr=False)
    breaks: tuple[float, ...] = ()

    @checked
    def expectation(self, function: Callable[[FloatArray], FloatArray], breaks: Iterable[float] = ()) -> float:
        """Return E f(x) by Gauss-Legendre quadrature, 20 nodes on panels half a standard deviation wide.

        Relative error below 1e-12 for functions that are smooth on that scale between the given breaks and grow no
        faster than a polynomial; test_distributions measures it on moments of order up to eight.

        Args:
            function: f, maps an array of nodes to an array of the same shape.
            breaks: points where f or a derivative jumps; panels end there.
        """
        nodes, weights = self.quadrature(breaks)
        return float(weights @ function(nodes))

    @checked
    def quadrature(self, breaks: Iterable[float] = ()) -> tuple[FloatArray, FloatArray]:
        """Return nodes (n,) and weights (n,), the density included; see `expectation`."""
        inner = [point for point in (*self.breaks, *breaks) if self.lower < point < self.upper]
        edges = np.unique([*np.arange(self.lower, self.upper, _PANEL_WIDTH), self.upper, *inner])
        half = np.diff(edges)[:, None] / 2
        nodes = (edges[:-1, None] + half + half * _PANEL_NODES).ravel()
        return nodes, (half * _PANEL_WEIGHTS).ravel() * self.density(nodes)

    @checked
    def density_at(self, point: float) -> float:
        """Return p(point), zero outside the support."""
        return float(self.density(np.asarray(point))) if self.lower < point < self.upper else 0.0

    @checked
    def sample(self, generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
        """Draw independent values, float64, of the given shape."""
        return self.draw(generator, shape)


class Population:
    """A finite population of pre-activations, the training set of a layer: expectations are averages over it.

    The values are standardised with their own mean and biased standard deviation. Use it with the `population` argument
    of `bnlens.theory.GapLaw.gap` (theory sheet A.2).

    Attributes:
        values: standardised pre-activations, float64 (P,).
        skewness: s = mean of x^3.
        excess_kurtosis: rho = mean of x^4, less 3.

    >>> two_valued = Population([0.0, 1.0, 0.0, 1.0])
    >>> len(two_valued), two_valued.excess_kurtosis
    (4, -2.0)
    """

    name = "population"

    @checked
    def __init__(self, values: ArrayLike) -> None:
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in "fiu" or not np.all(np.isfinite(array)):
            raise UsageError(
                "values, the pre-activations of a population, must be a 1-d array of finite numbers; "
                f"got shape {array.shape} and type {array.dtype}."
            )
        array = array.astype(np.float64)
        if len(array) < 2 or array.std() == 0:
            raise UsageError(f"The {len(array)} given pre-activations have no variance: give different values.")
        self.values: FloatArray = (array - array.mean()) / array.std()
        self.skewness = float(np.mean(self.values**3))
        self.excess_kurtosis = float(np.mean(self.values**4) - 3)

    def __len__(self) -> int:
        return len(self.values)

    @checked
    def quadrature(self, breaks: Iterable[float] = ()) -> tuple[FloatArray, FloatArray]:
        """Return the values and the weights 1/P."""
        return self.values, np.full(len(self), 1 / len(self))

    @checked
    def density_at(self, point: float) -> float:
        """Raise `UsageError`: a finite population has no density."""
        raise UsageError(
            f"A population of {len(self)} values has no density at the kink x = {point:.4g} of the loss: "
            'use hessian="gauss-newton" or a smooth unit.'
        )


_SQRT2 = float(np.sqrt(2.0))

_NAMED = (
    Distribution(
        name="gaussian",
        density=normal_density,
        lower=-12.0,
        upper=12.0,
        skewness=0.0,
        excess_kurtosis=0.0,
        draw=lambda generator, shape: generator.standard_normal(shape),
    ),
    Distribution(
        name="laplace",
        density=lambda x: np.exp(-_SQRT2 * np.abs(x)) / _SQRT2,
        lower=-40.0,
        upper=40.0,
        skewness=0.0,
        excess_kurtosis=3.0,
        draw=lambda generator, shape: generator.laplace(scale=1 / _SQRT2, size=shape),
        breaks=(0.0,),
    ),
    Distribution(
        name="exponential",
        density=lambda x: np.exp(-(x + 1)),
        lower=-1.0,
        upper=60.0,
        skewness=2.0,
        excess_kurtosis=6.0,
        draw=lambda generator, shape: generator.standard_exponential(shape) - 1,
    ),
)

DISTRIBUTIONS: dict[str, Distribution] = {named.name: named for named in _NAMED}
"""The named distributions: "gaussian", "laplace", "exponential"."""


@checked
def get_distribution(distribution: str | Distribution) -> Distribution:
    """Return the distribution of a name, or the distribution itself.

    Raises:
        UsageError: if the name is unknown.
    """
    if isinstance(distribution, Distribution):
        return distribution
    return DISTRIBUTIONS[check_choice("distribution", distribution, DISTRIBUTIONS)]
