"""Batches of pre-activations with their statistics and control variates of known mean, in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bnlens._progress import counter
from bnlens.errors import UsageError
from bnlens.simulate._regression import ControlledMean
from bnlens.simulate._sources import DistributionLike, FloatArray, Source, resolve_source
from bnlens.theory import Statistics, noise_scale

Noise = Literal["both", "mean", "std"]
"""Which batch statistic is random; the other takes its population value."""

_CHUNK_VALUES = 2**18
_MIN_BATCHES = 50


@dataclass(frozen=True)
class Chunk:
    """Some batches: x (n, M), the statistics that normalise them (n, 1), and controls (n, k) of known mean zero."""

    x: FloatArray
    mean: FloatArray
    std: FloatArray
    controls: FloatArray

    @property
    def normalised(self) -> FloatArray:
        """(x - mean) / std, shape (n, M)."""
        return (self.x - self.mean) / self.std


class BatchStream:
    """A reproducible stream of batches: each pass over it draws the same ones."""

    def __init__(
        self,
        distribution: DistributionLike,
        *,
        batch_size: int,
        samples: int,
        seed: int | np.random.Generator,
        statistics: Statistics = "own",
        noise: Noise = "both",
        bessel: bool = False,
        replacement: bool = False,
    ) -> None:
        self.batch_size = batch_size
        self.batches = -(-samples // self.batch_size)
        if self.batches < _MIN_BATCHES:
            raise UsageError(
                f"samples={samples} makes {self.batches} batches of {batch_size}, too few for a standard "
                f"error: set samples to {_MIN_BATCHES * self.batch_size} or more."
            )
        self.source: Source = resolve_source(distribution, replacement=replacement)
        self._scale = float(noise_scale(self.batch_size, self.source.population))
        self._seed = int(seed.integers(2**63)) if isinstance(seed, np.random.Generator) else int(seed)
        self._statistics, self._noise, self._bessel = statistics, noise, bessel
        if statistics == "paper":
            self._paper_spread()

    @property
    def samples(self) -> int:
        """Pre-activations of one pass."""
        return self.batches * self.batch_size

    def average(self, function: Callable[[Chunk], FloatArray], *, progress: bool, title: str) -> tuple[float, float]:
        """Return the mean of a function of batches, (n,) for n of them, by regression on the controls, and its error.

        About 2 MB of pre-activations are drawn at a time, with a progress bar on standard error if asked.
        """
        generator, mean = np.random.default_rng(self._seed), ControlledMean()
        per_chunk = max(_CHUNK_VALUES // self.batch_size, 1)
        with counter(title, progress) as report:
            for start in range(0, self.batches, per_chunk):
                count = min(per_chunk, self.batches - start)
                chunk = self._draw(generator, count)
                mean.update(function(chunk), chunk.controls)
                report(start + count, self.batches)
        return mean.compute()

    def _draw(self, generator: np.random.Generator, count: int) -> Chunk:
        x = self.source.draw(generator, (count, self.batch_size))
        mean, square, std, controls = self._describe(x)
        if self._statistics == "fresh":
            other_mean, other_square, std, more = self._describe(self.source.draw(generator, (count, self.batch_size)))
            products = [a * b for a in (mean, square) for b in (other_mean, other_square)]
            mean, controls = other_mean, [mean, square, *products, *more]
        elif self._statistics == "paper":
            spreads = np.array([np.sqrt(self._scale), self._paper_spread()])
            mean, deviation = generator.standard_normal((2, count)) * spreads[:, None]
            std = 1 + deviation
            own = [mean, deviation, mean**2 - spreads[0] ** 2, deviation**2 - spreads[1] ** 2, mean * deviation]
            controls = [*own, *controls[:2]]
        if self._noise == "std":
            mean = np.zeros(count)
        elif self._noise == "mean":
            std = np.ones(count)
        return Chunk(x, mean[:, None], std[:, None], np.column_stack(controls))

    def _describe(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, list[FloatArray]]:
        """Return batch mean m, mean square minus one q, standard deviation, and m, q, m^2, m q, q^2 centred."""
        mean = x.mean(axis=1)
        std = x.std(axis=1, ddof=int(self._bessel))
        if not np.all(std > 0):
            raise UsageError(
                f"A batch of {self.batch_size} equal pre-activations ({self.source.name}) has no standard deviation: "
                "use larger batches or values without ties."
            )
        square = np.einsum("ij,ij->i", x, x) / self.batch_size - 1
        controls = [mean, square, mean**2 - self._scale]
        skewness, kurtosis = self.source.skewness, self.source.excess_kurtosis
        if skewness is not None and kurtosis is not None:
            controls += [mean * square - skewness * self._scale, square**2 - (kurtosis + 2) * self._scale]
        return mean, square, std, controls

    def _paper_spread(self) -> float:
        if self.source.excess_kurtosis is None:
            raise UsageError('statistics="paper" needs the kurtosis of the pre-activations: give a name or an array.')
        spread = float(np.sqrt((self.source.excess_kurtosis + 2) / 4 * self._scale))
        if spread > 0.2:
            raise UsageError(
                f'statistics="paper" draws sigma_B from a Gaussian of relative width {spread:.2f}, which reaches zero: '
                "use a larger batch_size."
            )
        return spread
