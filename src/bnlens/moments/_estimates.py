"""From power sums to the estimates of mean, variance, skewness and kurtosis with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens._arguments import checked
from bnlens.moments._power import MomentSums

__all__ = ["MomentEstimates", "compute_moments"]


@dataclass(frozen=True, eq=False)
class MomentEstimates:
    r"""Moments per channel with standard errors; every tensor is (C,) float64.

    With the biased central moments :math:`m_p = S_p / n`. A value is nan where the samples are too few for it (none for
    the mean, fewer than two for a Bessel variance or a standard error, four for that of the kurtosis).

    Attributes:
        count: samples n per channel.
        skipped_batches: batches left out because they were not finite.
        mean: the mean, in the units of the data.
        variance: :math:`m_2`, the biased variance that BN normalises by, or :math:`S_2 / (n - 1)` with ``bessel=True``.
        skewness: :math:`m_3 / m_2^{3/2}` (the s of the theory sheet); nan where the channel is constant.
        excess_kurtosis: :math:`m_4 / m_2^2 - 3` (the rho of the theory sheet); nan where the channel is constant.
        mean_stderr: :math:`\sqrt{S_2 / (n (n - 1))}`, for independent samples.
        variance_stderr: :math:`\sqrt{(m_4 - m_2^2 (n - 3)/(n - 1)) / n}`, times (n - 1)/n for the biased variance: for
            independent samples of any distribution with a fourth moment; to first order
            :math:`\sigma^2 \sqrt{(\rho + 2)/n}`.
        skewness_stderr: :math:`\sqrt{6 (n - 2) / ((n + 1)(n + 3))}`, exact for independent *Gaussian* samples.
        excess_kurtosis_stderr: :math:`\sqrt{24 n (n - 2)(n - 3) / ((n + 1)^2 (n + 3)(n + 5))}`, exact for independent
            *Gaussian* samples. Heavier tails need moments to order eight and have a larger one.
    """

    count: int
    skipped_batches: int
    mean: Tensor
    variance: Tensor
    skewness: Tensor
    excess_kurtosis: Tensor
    mean_stderr: Tensor
    variance_stderr: Tensor
    skewness_stderr: Tensor
    excess_kurtosis_stderr: Tensor

    @property
    def std(self) -> Tensor:
        """The square root of ``variance``, (C,)."""
        return self.variance.sqrt()


@checked
def compute_moments(sums: MomentSums, *, bessel: bool = False) -> MomentEstimates:
    """Return the moments per channel that the sums describe; conventions of theory sheet A.0.

    The standard errors take samples as independent; pixels of one image are not, so for maps they are too small.

    A channel counts as constant, as in SciPy, when its standard deviation is below ten float64 roundings of its mean.

    Args:
        sums: sums over C channels.
        bessel: divide the variance by n - 1 instead of n. Skewness and kurtosis stay the biased ones.

    Example:
        >>> import torch
        >>> from bnlens.moments import MomentSums, compute_moments, update_moments
        >>> sums = update_moments(MomentSums.empty(1), torch.tensor([[1.0], [2.0], [3.0], [6.0]]))
        >>> estimates = compute_moments(sums)
        >>> estimates.mean.item(), estimates.variance.item()
        (3.0, 3.5)
        >>> round(estimates.skewness.item(), 4), round(estimates.excess_kurtosis.item(), 4)
        (0.6872, -1.0)
    """
    n = sums.count.double()
    fewer = (n - 1).clamp(min=0)  # 0 / 0 = nan is what an estimate from too few samples shall be
    mean = torch.where(n > 0, sums.mean, torch.nan)
    m2, m3, m4 = sums.sum2 / n, sums.sum3 / n, sums.sum4 / n
    constant = m2 <= (10 * torch.finfo(torch.float64).eps * mean).square()
    spread = torch.where(constant, torch.nan, m2)
    shrink = torch.ones_like(n) if bessel else fewer / n
    skewness_variance = torch.where(n > 2, 6 * (n - 2) / ((n + 1) * (n + 3)), torch.nan)
    kurtosis_variance = torch.where(
        n > 3, 24 * n * (n - 2) * (n - 3) / ((n + 1).square() * (n + 3) * (n + 5)), torch.nan
    )
    return MomentEstimates(
        count=int(sums.count),
        skipped_batches=int(sums.skipped_batches),
        mean=mean,
        variance=sums.sum2 / (fewer if bessel else n),
        skewness=m3 / spread.pow(1.5),
        excess_kurtosis=m4 / spread.square() - 3,
        mean_stderr=(m2 / fewer).sqrt(),
        variance_stderr=shrink * ((m4 - m2.square() * (n - 3) / fewer).clamp(min=0) / n).sqrt(),
        skewness_stderr=torch.where(constant, torch.nan, skewness_variance.sqrt()),
        excess_kurtosis_stderr=torch.where(constant, torch.nan, kurtosis_variance.sqrt()),
    )
