"""The sources of the pre-activations of a simulation: a density, a sampler of the user, or a finite population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlens.errors import UsageError
from bnlens.theory import Distribution, Population, get_distribution

FloatArray: TypeAlias = NDArray[np.float64]
Sampler: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], ArrayLike]
DistributionLike: TypeAlias = str | Distribution | Population | Sampler | ArrayLike

_PILOT = 100_000


@dataclass(frozen=True)
class Source:
    """Draws batches (batches, M) of standardised pre-activations; the moments are None where they are not known."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], FloatArray]
    skewness: float | None
    excess_kurtosis: float | None
    population: int | None = None


def resolve_source(distribution: DistributionLike, *, replacement: bool = False) -> Source:
    """Turn what the user gave into a `Source`; arrays are standardised, samplers are checked on a pilot sample."""
    if isinstance(distribution, str | Distribution):
        density = get_distribution(distribution)
        return Source(density.name, density.sample, density.skewness, density.excess_kurtosis)
    if callable(distribution):
        return _from_sampler(distribution)
    population = distribution if isinstance(distribution, Population) else Population(distribution)
    return _from_population(population, replacement)


def _from_sampler(sampler: Sampler) -> Source:
    name = getattr(sampler, "__name__", type(sampler).__name__)

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        values = np.asarray(sampler(generator, shape), dtype=np.float64)
        if values.shape != shape:
            raise UsageError(f"Sampler {name!r} returned shape {values.shape} for {shape}: draw the shape it is given.")
        return values

    pilot = draw(np.random.default_rng(0), (1, _PILOT)).ravel()
    for label, values, target in (("mean", pilot, 0.0), ("mean square", pilot**2, 1.0)):
        tolerance = 6 * values.std() / np.sqrt(len(values)) + 1e-12
        if not abs(values.mean() - target) <= tolerance:
            raise UsageError(
                f"Sampler {name!r} has {label} {values.mean():.4g} instead of {target:g}: "
                "standardise its values to zero mean and unit variance."
            )
    return Source(name, draw, None, None)


def _from_population(population: Population, replacement: bool) -> Source:
    x = population.values

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        batches, size = shape
        if replacement:
            return x[generator.integers(len(x), size=shape)]
        picks = [generator.choice(len(x), size, replace=False, shuffle=False) for _ in range(batches)]
        return x[np.stack(picks)]

    size = None if replacement else len(x)
    return Source(population.name, draw, population.skewness, population.excess_kurtosis, size)
