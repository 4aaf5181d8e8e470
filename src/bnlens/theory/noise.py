"""Law of the batch statistics to first order in 1/M (theory sheet A.1, A.2).

x is a pre-activation standardised with the population statistics, s its skewness, rho its excess kurtosis and
K = rho + 2 = E x^4 - 1. A batch of M samples has the mean m and the standard deviation S, biased unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import checked
from bnlens.errors import UsageError
from bnlens.theory._check import BatchSizes, FloatArray, check_batch_size, unwrap

__all__ = ["BatchNoise", "noise_scale"]


@checked
def noise_scale(
    batch_size: BatchSizes, population: int | None = None, *, replacement: bool = False
) -> float | FloatArray:
    """Return the variance f of the batch mean of a standardised variable, the small parameter of every expansion here.

    f = 1/M for an infinite population and for batches drawn with replacement;
    f = (P - M) / (M (P - 1)) for shuffled batches from a finite population of P samples (theory sheet A.2, exact).

    Args:
        batch_size: M >= 2, a number or an array.
        population: P, the number of samples in the training set when that set is the population; None for infinity.
        replacement: whether the samples of one batch may repeat; only matters with a finite population.

    Returns:
        f; a float for a scalar, else float64 of the shape of `batch_size`.

    Raises:
        UsageError: if M < 2, or a batch without replacement exceeds the population.

    >>> noise_scale(64), noise_scale(64, population=64), round(noise_scale(64, population=512) * 64, 4)
    (0.015625, 0.0, 0.8767)
    """
    size = check_batch_size(batch_size)
    if population is None or replacement:
        return unwrap(1 / size)
    if np.any(size > population):
        raise UsageError(
            f"batch_size={batch_size!r} exceeds the population of {population} samples: "
            "choose smaller batches or set replacement=True."
        )
    return unwrap((population - size) / (size * (population - 1)))


@checked
@dataclass(frozen=True)
class BatchNoise:
    """Moments of the batch mean m and the batch standard deviation S, to first order in the noise scale f.

        Var m = f (exact)            Var S = K f / 4               Cov(m, S) = s f / 2
        E S = 1 - (K/8 + 1/2) f      E 1/S = 1 + (1/2 + 3K/8) f    (biased; the Bessel correction adds and takes 1/(2M))

    The variances are the paper's (arXiv 1809.00846); the bias of S and the correlation are of the same order and are
    not in it. With heavy tails Var S is below K/(4M) unless M is large: 0.84 of it at M = 32 for an exponential.
    Source: theory sheet A.1.

    Attributes:
        batch_size: M, a number or an array; the properties have its shape.
        skewness: s = E x^3.
        excess_kurtosis: rho = E x^4 - 3.
        population: P of a finite population, or None.
        replacement: whether the samples of a batch may repeat.
        bessel: whether S^2 divides by M - 1 instead of M.

    >>> noise = BatchNoise(batch_size=100, skewness=0.0, excess_kurtosis=0.0)
    >>> noise.var_mean, noise.var_std, noise.mean_std, noise.mean_inverse_std
    (0.01, 0.005, 0.9925, 1.0125)
    """

    batch_size: BatchSizes
    skewness: float = 0.0
    excess_kurtosis: float = 0.0
    population: int | None = None
    replacement: bool = False
    bessel: bool = False

    def __post_init__(self) -> None:
        noise_scale(self.batch_size, self.population, replacement=self.replacement)
        if self.excess_kurtosis < self.skewness**2 - 2 - 1e-9:
            raise UsageError(
                f"excess_kurtosis={self.excess_kurtosis} is impossible with skewness={self.skewness}: "
                "it must be at least skewness^2 - 2."
            )

    @property
    def scale(self) -> float | FloatArray:
        """Noise scale f, see `noise_scale`."""
        return noise_scale(self.batch_size, self.population, replacement=self.replacement)

    @property
    def var_mean(self) -> float | FloatArray:
        """Var m = f, exact."""
        return self.scale

    @property
    def var_std(self) -> float | FloatArray:
        """Var S = K f / 4."""
        return (self.excess_kurtosis + 2) / 4 * self.scale

    @property
    def cov_mean_std(self) -> float | FloatArray:
        """Cov(m, S) = s f / 2."""
        return self.skewness / 2 * self.scale

    @property
    def mean_std(self) -> float | FloatArray:
        """E S."""
        return 1 - ((self.excess_kurtosis + 2) / 8 + 0.5) * self.scale + self._bessel_shift()

    @property
    def mean_inverse_std(self) -> float | FloatArray:
        """E 1/S."""
        return 1 + (0.5 + 3 * (self.excess_kurtosis + 2) / 8) * self.scale - self._bessel_shift()

    @checked
    def mean_given_member(self, x: ArrayLike) -> float | FloatArray:
        """Return E[m | x] = f x, the batch mean given that a sample with value x is in the batch (exact)."""
        return unwrap(np.asarray(x, dtype=np.float64) * self.scale)

    @checked
    def variance_given_member(self, x: ArrayLike) -> float | FloatArray:
        """Return E[S^2 | x] = 1 + f (x^2 - 2), biased, or 1 + f (x^2 - 2) + 1/M with the Bessel correction."""
        return unwrap(1 + (np.asarray(x, dtype=np.float64) ** 2 - 2) * self.scale + 2 * self._bessel_shift())

    def _bessel_shift(self) -> float | FloatArray:
        # sqrt(M / (M - 1)) = 1 + 1/(2M) + ...: a factor, so M counts here and not the noise scale.
        return unwrap(0.5 / np.asarray(self.batch_size, dtype=np.float64)) if self.bessel else 0.0
