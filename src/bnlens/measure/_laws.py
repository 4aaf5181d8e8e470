"""From the sums of one pass: the first order in 1/M of each call (theory sheet D.1), and numbers that describe it.

Every coefficient here is M times a gap for an infinite population; a gap at M is the coefficient times
``bnlens.theory.noise_scale(M, P)``. The pool of P samples is the population, so that its own averages are exact; standard
errors come from the curvature draws behind the Fisher matrix and from the random groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens.measure._collect import COLUMNS, CallSums, Kept
from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._groups import Perturbation
from bnlens.measure._population import Population
from bnlens.measure._results import Description
from bnlens.measure._running import invalid_channels
from bnlens.theory.zeta import zeta

__all__ = ["LayerLaw", "dead_channels", "describe", "fisher_term", "layer_fisher", "layer_law", "network_fisher"]

_BLOCK = 2048  # rows of a (P, P) matrix held at once
_DEAD = 1e-3


@dataclass(frozen=True)
class LayerLaw:
    """Terms of M gap of one BN call, nats per sample.

    Attributes:
        two_term: quadratic term with Fisher matrix and noise cut to their diagonals, which is the paper's sum of zeta
            gamma^2 with samples counted, not pixels; None without a likelihood.
        self_inclusion: E_j[g_j . v_j]: each sample is in its own group.
        shift: from the bias of 1 / sigma_B, the correlation of mu_B with sigma_B, and unequal numbers of rows.
    """

    two_term: Estimate | None
    self_inclusion: float
    shift: float

    @property
    def linear(self) -> float:
        """self_inclusion + shift."""
        return self.self_inclusion + self.shift


def layer_law(sums: CallSums, likelihood: bool) -> LayerLaw:
    """Return all first-order terms of one BN call but for the Fisher matrix's."""
    estimates = sums.samples.compute()
    a2, q2, aq, beta, gamma, *curvatures, qe = sums.channels / estimates.count
    # of samples with unequal numbers of values a group's mean is a ratio, biased by -E[a excess] and -E[q excess]
    shift = (sums.gamma * (beta * aq + gamma * ((3 * q2 + a2) / 2 + qe))).sum()
    two_term = None
    if likelihood:
        value = zeta(sums.gamma.square() * a2, sums.gamma.square() * q2, *curvatures).sum()
        mean = float(estimates.mean[COLUMNS.index("two_term")])
        error = _stderr(sums, {"two_term": 1.0}) / mean if mean else 0.0
        two_term = Estimate(float(value), float(value) * error)
    return LayerLaw(two_term, float(estimates.mean[COLUMNS.index("self_inclusion")]), float(shift))


def _stderr(sums: CallSums, weights: dict[str, float]) -> float:
    """Return the standard error of the mean over samples of a weighted sum of columns."""
    estimates = sums.samples.compute(bessel=True)
    index = [COLUMNS.index(name) for name in weights]
    vector = torch.tensor(list(weights.values()), dtype=torch.float64)
    variance = float(vector @ estimates.covariance[index][:, index] @ vector)
    return math.sqrt(max(variance, 0.0) / estimates.count)


def fisher_term(gradients: Sequence[Tensor], noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return 1/2 E_j E_i (sum over calls of g_j . v_i)^2, as its averages over i for each j and over j for each i.

    From g of each call, (P, D_call), and v, (K, D_call), to (P,) and (K,), float64; both have the term as their mean.
    """
    size, count = len(gradients[0]), len(noise[0])
    by_gradient, by_noise = [], torch.zeros(count, dtype=torch.float64)
    for start in range(0, size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        with torch.autocast("cpu", enabled=False):  # the caller's would round the products to bfloat16
            products = sum((g[rows] @ v.T for g, v in zip(gradients, noise, strict=True)), torch.zeros(1))
        squares = products.square_().mul_(0.5)
        by_gradient.append(squares.mean(1, dtype=torch.float64))
        by_noise += squares.sum(0, dtype=torch.float64)
    return torch.cat(by_gradient), by_noise / size


def layer_fisher(kept: Kept, name: str) -> Estimate:
    """Return 1/2 tr(F Sigma) of one call, F the true Fisher matrix of (beta, gamma) of all its channels."""
    return mean_estimate(fisher_term([kept.drawn[name].float()], [kept.moved[name].float()])[0])


def network_fisher(kept: Kept, recorded: dict[str, Perturbation]) -> Estimate:
    """Return 1/2 E_j E_k (g_j . eps_k)^2 over samples j and groups k, one form over all calls (theory sheet D.2)."""
    noise = [torch.cat([p.shift, p.scale], dim=1).float() for p in recorded.values()]
    by_gradient, by_noise = fisher_term([kept.drawn[name].float() for name in recorded], noise)
    error = math.hypot(mean_estimate(by_gradient).stderr, mean_estimate(by_noise).stderr)
    return Estimate(float(by_noise.mean()), error)


def dead_channels(sums: CallSums) -> list[int]:
    """Return the channels whose output has a standard deviation below 1e-3."""
    spread = sums.gamma.abs() * sums.population.square.cpu().double().clamp(min=0).sqrt()
    dead: list[int] = (spread < _DEAD).nonzero()[:, 0].tolist()
    return dead


def describe(layer: _BatchNorm, sums: CallSums) -> Description:
    """Describe one call; standard errors are over the samples of the pool."""
    square = sums.population.square.cpu().double()
    stale_mean, stale_std = _staleness(layer, sums)
    nothing = Estimate(math.nan, math.nan)
    kurtosis = Estimate(float(sums.samples.compute().mean[COLUMNS.index("kurtosis")]), _stderr(sums, {"kurtosis": 1.0}))
    return Description(
        # theory sheet D.1: E x^2 over pixels over that of a^2, and Var x^2 / 4 over that of q^2
        effective_samples_mean=_ratio(sums, "pixel_mean", "mean"),
        effective_samples_std=_ratio(sums, "pixel_std", "std"),
        kurtosis=kurtosis if bool((square > 0.5).any()) else nothing,
        gamma_rms=float(sums.gamma.square().mean().sqrt()),
        dead_channels=len(dead_channels(sums)),
        stale_mean=stale_mean,
        stale_std=stale_std,
    )


def _ratio(sums: CallSums, above: str, below: str) -> Estimate:
    """Return the ratio of two means over samples, error by the influence of each sample; 1 if there is one pixel."""
    if sums.pixels == 1:
        return Estimate(1.0, 0.0)
    means = sums.samples.compute().mean
    over, under = float(means[COLUMNS.index(above)]), float(means[COLUMNS.index(below)])
    if under == 0:
        return Estimate(math.nan, math.nan)
    ratio = over / under
    return Estimate(ratio, _stderr(sums, {above: 1 / under, below: -ratio / under}))


def _staleness(layer: _BatchNorm, sums: CallSums) -> tuple[Estimate | None, Estimate | None]:
    """Return the root mean square distances with the error that the finite pool gives the population statistics."""
    if layer.running_mean is None or layer.running_var is None or invalid_channels(layer):
        return None, None
    population: Population = sums.population
    sigma = population.sigma.double().cpu()
    mean = (layer.running_mean.detach().double().cpu() - population.mean.double().cpu()) / sigma
    std = 0.5 * (layer.running_var.detach().double().cpu() + population.eps).log() - sigma.log()
    size = int(sums.samples.sums.count)
    a2, q2 = sums.channels[:2] / size
    return _root_mean_square(mean, a2 / size), _root_mean_square(std, q2 / size)


def _root_mean_square(distance: Tensor, variance: Tensor) -> Estimate:
    """Return the rms of d (C,), each d known to ``variance`` (C,); the error by the delta method, at most the noise itself."""
    rms = distance.square().mean().sqrt()
    noise = variance.mean().sqrt()
    if rms == 0:
        return Estimate(0.0, float(noise))
    spread = (distance.square() * variance).sum().sqrt() / (len(distance) * rms)
    return Estimate(float(rms), float(torch.minimum(torch.maximum(spread, noise / len(distance) ** 0.5), noise)))
