"""Descriptive numbers of one BN call: effective samples, kurtosis, dead channels, staleness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._population import Population
from bnlens.measure._results import Description
from bnlens.measure._statistics import SampleStatistics

__all__ = ["describe"]

_DEAD = 1e-3


def describe(layer: _BatchNorm, statistics: SampleStatistics, population: Population) -> Description:
    """Describe one call; standard errors are over the samples of the pool."""
    gamma = statistics.gamma.double()
    spread = gamma.abs() * statistics.square.clamp(min=0).sqrt()
    stale_mean, stale_std = _staleness(layer, statistics, population)
    # Effective samples (theory sheet D.1): E x^2 over pixels over that of a^2, and Var x^2 / 4 over that of q^2.
    square, half_square = statistics.square, statistics.half_square.double()
    variance_of_square = (statistics.fourth_by_sample.double() - square.square()) / 4 - square * half_square
    return Description(
        effective_samples_mean=_ratio(square + 2 * half_square, statistics.mean, statistics.pixels),
        effective_samples_std=_ratio(variance_of_square, statistics.half_square, statistics.pixels),
        kurtosis=_kurtosis(statistics),
        gamma_rms=float(gamma.square().mean().sqrt()),
        dead_channels=int((spread < _DEAD).sum()),
        stale_mean=stale_mean,
        stale_std=stale_std,
    )


def _ratio(pixel: Tensor, by_sample: Tensor, pixels: int) -> Estimate:
    """Return mean of ``pixel`` over that of ``by_sample`` squared, (P, C) each, summed over channels; 1 if there is one pixel.

    The error is by the influence of each sample on both, which are correlated.
    """
    if pixels == 1:
        return Estimate(1.0, 0.0)
    above, below = pixel.sum(1), by_sample.double().square().sum(1)
    if below.mean() == 0:
        return Estimate(float("nan"), float("nan"))
    ratio = above.mean() / below.mean()
    return Estimate(float(ratio), mean_estimate((above - ratio * below) / below.mean()).stderr)


def _kurtosis(statistics: SampleStatistics) -> Estimate:
    """Return the excess kurtosis averaged over live channels, error from the influence of each sample on m4 / m2^2.

    The influence of the mean enters through m3, that of the variance through m4.
    """
    live = statistics.square > 0.5  # a dead channel is all epsilon and has no kurtosis
    if not live.any():
        return Estimate(float("nan"), float("nan"))
    square = statistics.square[live]
    kurtosis = statistics.fourth[live] / square.square()
    by_sample = statistics.fourth_by_sample[:, live].double() / square.square()
    of_mean = 4 * statistics.cube[live] / square.square() * statistics.mean[:, live].double()
    of_variance = 4 * kurtosis / square * statistics.half_square[:, live].double()
    influence = (by_sample - of_mean - of_variance).mean(1)
    return mean_estimate(influence - 3)


def _staleness(
    layer: _BatchNorm, statistics: SampleStatistics, population: Population
) -> tuple[Estimate | None, Estimate | None]:
    """Return the root mean square distances with the error that the finite pool gives the population statistics."""
    if layer.running_mean is None or layer.running_var is None:
        return None, None
    sigma = population.sigma.double().cpu()
    mean = (layer.running_mean.detach().double().cpu() - population.mean.double().cpu()) / sigma
    std = 0.5 * (layer.running_var.detach().double().cpu() + population.eps).log() - sigma.log()
    size = len(statistics.mean)
    return (
        _root_mean_square(mean, statistics.mean.double().square().mean(0) / size),
        _root_mean_square(std, statistics.half_square.double().square().mean(0) / size),
    )


def _root_mean_square(distance: Tensor, variance: Tensor) -> Estimate:
    """Return the rms of d (C,), each d known to ``variance`` (C,); the error by the delta method, at most the noise itself."""
    rms = distance.square().mean().sqrt()
    noise = variance.mean().sqrt()
    if rms == 0:
        return Estimate(0.0, float(noise))
    spread = (distance.square() * variance).sum().sqrt() / (len(distance) * rms)
    return Estimate(float(rms), float(torch.minimum(torch.maximum(spread, noise / len(distance) ** 0.5), noise)))
