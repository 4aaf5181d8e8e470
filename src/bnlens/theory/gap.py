"""The gap of batch normalization over population normalization, to first order in 1/M.

gap(M) = E loss(batch statistics) - E loss(population statistics), same weights, nats per sample. PN computes
y = gamma x + beta with x standardised by the population, BN computes gamma (x - m)/S + beta with the mean m and the
standard deviation S of M samples. Source: theory sheet A.0 to A.3; the two-term value is that of arXiv 1809.00846.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike

from bnlens._arguments import Range, checked
from bnlens.errors import UsageError
from bnlens.theory._check import BatchSizes, FloatArray, check_batch_size, unwrap
from bnlens.theory.distributions import Distribution, Population, get_distribution
from bnlens.theory.noise import noise_scale
from bnlens.theory.units import Unit, get_unit
from bnlens.theory.zeta import zeta

__all__ = ["GapLaw", "GapShares", "Hessian", "Statistics", "gap_law", "linear_gamma", "linear_gap"]

Statistics = Literal["own", "fresh", "paper"]
"""Source of the statistics: the sample's own batch (true BN), an independent batch, or the paper's Gaussian noise."""

Hessian = Literal["exact", "gauss-newton"]
"""Whether the curvature includes the delta terms at the kinks of the loss."""


@dataclass(frozen=True)
class GapShares:
    """M * gap split by which statistic is random; the three add up to the coefficient of the whole gap.

    Attributes:
        mean: only the batch mean random, y = gamma (x - m) + beta.
        std: only the batch standard deviation random, y = gamma x / S + beta.
        cross: the rest, from both together: gamma^2 (s/2) H_gb + gamma (s/2) G_b, zero without skew.
    """

    mean: float
    std: float
    cross: float


@dataclass(frozen=True)
class GapLaw:
    """The expansion of the gap of one unit at one (gamma, beta), in the moments that it needs.

    With l', l'' the derivatives of the loss in y at y = gamma x + beta, and K = rho + 2:

        Z          = gamma^2 (K/8 H_gg + 1/2 H_bb)                                          the paper's two terms
        own batch  : M gap = Z + gamma^2 (s/2) H_gb + gamma (3K/8 G_g + s/2 G_b - 1/2 T3)
        fresh batch: M gap = Z + gamma^2 (s/2) H_gb + gamma ((1/2 + 3K/8) G_g + s/2 G_b)
        paper noise: M gap = Z + gamma (K/4) G_g      (independent Gaussian mu_B, sigma_B centred on mu_P, sigma_P)

    biased variance; the Bessel correction subtracts (gamma/2) G_g. Source: theory sheet A.2. Accuracy, measured: the
    own-batch law is within 5% of the gap at M = 64 for Gaussian and Laplace and within 10% for exponential
    pre-activations; the fresh-batch law has larger corrections of order 1/M^2.

    Attributes:
        gamma: scale of the affine map.
        beta: its shift.
        skewness: s = E x^3.
        excess_kurtosis: rho = E x^4 - 3.
        G_g: E[l' x], the gradient in gamma.
        G_b: E[l'], the gradient in beta.
        T3: E[l' x^3].
        H_gg: E[l'' x^2].
        H_bb: E[l''].
        H_gb: E[l'' x].

    >>> law = gap_law("linear", "gaussian", gamma=0.7, beta=0.2)
    >>> round(law.coefficient("own"), 4), round(law.coefficient("fresh"), 4), round(law.two_term, 4)
    (0.42, 0.28, 0.3675)
    """

    gamma: float
    beta: float
    skewness: float
    excess_kurtosis: float
    G_g: float
    G_b: float
    T3: float
    H_gg: float
    H_bb: float
    H_gb: float

    @property
    def kurtosis_factor(self) -> float:
        """K = rho + 2 = E x^4 - 1."""
        return self.excess_kurtosis + 2

    @property
    def two_term(self) -> float:
        """The paper's M * zeta * gamma^2 = gamma^2 (K/8 H_gg + 1/2 H_bb)."""
        return self.gamma**2 * self._zeta

    @property
    def two_term_shares(self) -> GapShares:
        """The paper's two terms apart: gamma^2 H_bb / 2 from mu_B and gamma^2 K H_gg / 8 from sigma_B."""
        square = self.gamma**2
        mean = zeta(square, 0.0, self.H_bb, self.H_gg)
        std = zeta(0.0, square * self.kurtosis_factor / 4, self.H_bb, self.H_gg)
        return GapShares(mean=mean, std=std, cross=0.0)

    @checked
    def zeta(self, batch_size: BatchSizes) -> float | FloatArray:
        """Return the paper's gamma-decay coefficient, gap ~ zeta gamma^2: zeta = (K/8 H_gg + 1/2 H_bb) / M.

        Args:
            batch_size: M >= 2, a number or an array.
        """
        return unwrap(self._zeta / check_batch_size(batch_size))

    @property
    def _zeta(self) -> float:
        return float(zeta(1.0, self.kurtosis_factor / 4, self.H_bb, self.H_gg))

    @checked
    def shares(self, statistics: Statistics = "own", *, bessel: bool = False) -> GapShares:
        """Split M * gap into what the batch mean and the batch standard deviation do alone, and their cross term.

            own  : mean = gamma^2 H_bb / 2 - gamma G_g,  std = gamma^2 K H_gg / 8 + gamma ((1 + 3K/8) G_g - T3 / 2)
            fresh: mean = gamma^2 H_bb / 2,              std = gamma^2 K H_gg / 8 + gamma (1/2 + 3K/8) G_g
            paper: mean = gamma^2 H_bb / 2,              std = gamma^2 K H_gg / 8 + gamma (K/4) G_g

        Membership moves -gamma G_g into the mean's share and +(gamma/2)(G_g - T3) into that of the standard deviation.
        Source: theory sheet A.2.
        """
        factor, gamma = self.kurtosis_factor, self.gamma
        mean, std = self.two_term_shares.mean, self.two_term_shares.std
        if statistics == "paper":
            return GapShares(mean=mean, std=std + gamma * factor / 4 * self.G_g, cross=0.0)
        std += gamma * (0.5 + 3 * factor / 8) * self.G_g
        if statistics == "own":
            mean -= gamma * self.G_g
            std += gamma / 2 * (self.G_g - self.T3)
        if bessel:
            std -= gamma / 2 * self.G_g
        return GapShares(mean=mean, std=std, cross=gamma * self.skewness / 2 * (gamma * self.H_gb + self.G_b))

    @checked
    def coefficient(self, statistics: Statistics = "own", *, bessel: bool = False) -> float:
        """Return lim M * gap(M), nats per sample.

        Args:
            statistics: "own", "fresh" or "paper".
            bessel: whether the batch variance divides by M - 1; without meaning for "paper".
        """
        shares = self.shares(statistics, bessel=bessel)
        return shares.mean + shares.std + shares.cross

    @checked
    def gap(
        self,
        batch_size: BatchSizes,
        statistics: Statistics = "own",
        *,
        bessel: bool = False,
        population: int | None = None,
        replacement: bool = False,
    ) -> float | FloatArray:
        """Return the gap at statistics batch size M, nats per sample.

        The expansion runs in the noise scale f: 1/M or, for shuffled batches from P samples, (P - M)/(M (P - 1)). The
        Bessel correction is a factor sqrt(M/(M - 1)) on S and keeps its 1/M: -gamma G_g / (2M).

        Args:
            batch_size: M >= 2, a number or an array.
            statistics: "own", "fresh" or "paper".
            bessel: whether the batch variance divides by M - 1.
            population: P when the training set is the population (the moments are then averages over it), else None.
            replacement: whether the samples of a batch may repeat.

        Raises:
            UsageError: if M < 2, M > P without replacement, or `statistics` is unknown.
        """
        scale = np.asarray(noise_scale(batch_size, population, replacement=replacement))
        shift = self.gamma * self.G_g / (2 * check_batch_size(batch_size)) if bessel and statistics != "paper" else 0.0
        return unwrap(self.coefficient(statistics) * scale - shift)


@checked
def gap_law(
    unit: str | Unit,
    distribution: str | Distribution | Population,
    *,
    gamma: float,
    beta: float = 0.0,
    hessian: Hessian = "exact",
) -> GapLaw:
    """Compute the moments of `GapLaw` by quadrature, relative error about 1e-12.

    Args:
        unit: a name ("linear", "logistic", "relu", "softplus_glm", "poisson") or a `Unit`.
        distribution: a name ("gaussian", "laplace", "exponential"), a `Distribution`, or the `Population` of a finite
            training set, whose averages then take the place of the quadrature.
        gamma: scale; not zero when the loss has kinks.
        beta: shift.
        hessian: "exact" includes the kink terms jump(x0) p(x0) / |gamma| at x0 = (output - beta)/gamma, "gauss-newton"
            drops them. For ReLU with squared loss they are -E[t|x0] p(x0) / |gamma| (theory sheet A.0).

    Raises:
        UsageError: for an unknown name or option, or a kinked loss at gamma = 0.

    >>> round(gap_law("relu", "gaussian", gamma=0.7).two_term, 4)
    0.1503
    >>> round(gap_law("relu", "gaussian", gamma=0.7, hessian="gauss-newton").two_term, 4)
    0.1837
    """
    unit = get_unit(unit)
    if not isinstance(distribution, Population):
        distribution = get_distribution(distribution)
    if unit.kinks and gamma == 0:
        raise UsageError(
            f"gamma=0 leaves no expansion for the kinked loss of unit {unit.name!r}: choose another gamma."
        )

    places = [(kink.output - beta) / gamma for kink in unit.kinks]
    x, weights = distribution.quadrature(places)
    y = gamma * x + beta
    slope, curvature = weights * unit.slope(y, x), weights * unit.curvature(y, x)
    second = [float(curvature @ x**power) for power in (0, 1, 2)]
    if hessian == "exact":
        for kink, place in zip(unit.kinks, places, strict=True):
            mass = float(kink.jump(np.asarray(place))) * distribution.density_at(place) / abs(gamma)
            second = [value + mass * place**power for power, value in enumerate(second)]
    H_bb, H_gb, H_gg = second
    G_g, G_b, T3 = float(slope @ x), float(slope.sum()), float(slope @ x**3)
    return GapLaw(gamma, beta, distribution.skewness, distribution.excess_kurtosis, G_g, G_b, T3, H_gg, H_bb, H_gb)


@checked
def linear_gap(gamma: ArrayLike, correlation: float, mean_std: Annotated[ArrayLike, Range(0)]) -> float | FloatArray:
    """Return the exact gap of a linear unit with squared loss and teacher E[t|x] = R x: gap = gamma R (1 - E S).

    Holds at every M >= 2 and for every distribution of x, own-batch statistics, because the batch-normalised samples
    have mean zero and mean square one in each batch; E S is the expected biased batch standard deviation, for a
    Gaussian `bnlens.theory.mean_std(M)`. The penalty is linear in gamma, not quadratic. Source: theory sheet A.3 (d).

    Args:
        gamma: scale, a number or an array.
        correlation: R.
        mean_std: E S in units of the population standard deviation.

    >>> from bnlens.theory import mean_std
    >>> round(linear_gap(0.7, 0.8, mean_std(8)), 5)
    0.05449
    """
    return unwrap(np.asarray(gamma, dtype=np.float64) * correlation * (1 - np.asarray(mean_std, dtype=np.float64)))


@checked
def linear_gamma(correlation: float, mean_std: Annotated[ArrayLike, Range(0)]) -> float | FloatArray:
    """Return the exact minimiser over gamma of the BN loss of a linear unit, gamma_BN = R E S (theory sheet A.3 (d)).

    Args:
        correlation: R.
        mean_std: E S in units of the population standard deviation.

    >>> from bnlens.theory import mean_std
    >>> round(linear_gamma(1.0, mean_std(32)), 5)
    0.97635
    """
    return unwrap(correlation * np.asarray(mean_std, dtype=np.float64))
