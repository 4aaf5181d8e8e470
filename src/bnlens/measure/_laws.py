"""The gap predicted to first order in 1/M from per-sample gradients and statistics (theory sheet D.1, D.2).

Every coefficient here is M times a gap for an infinite population; a gap at M is the coefficient times
``bnlens.theory.noise_scale(M, P)``. The pool of P samples is the population, so that its own averages are exact; standard
errors come from the curvature draws behind the Fisher matrix and from the random groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.measure._estimate import Estimate, mean_estimate
from bnlens.measure._gradients import SampleGradients
from bnlens.measure._groups import SecondOrder
from bnlens.measure._statistics import SampleStatistics
from bnlens.theory.zeta import zeta

__all__ = ["LayerLaw", "fisher_term", "layer_law", "linear_by_group", "network_fisher"]

_BLOCK = 2048  # rows of a (P, P) matrix held at once


@dataclass(frozen=True)
class LayerLaw:
    """Terms of M gap of one BN call, nats per sample.

    Attributes:
        fisher: quadratic term 1/2 tr(F Sigma), F the true Fisher matrix of (beta, gamma) of all channels; None without
            a likelihood.
        two_term: the same with F and Sigma cut to their diagonals, which is the paper's sum of zeta gamma^2 with samples
            counted, not pixels; None without a likelihood.
        self_inclusion: E_j[g_j . v_j]: each sample is in its own group.
        shift: from the bias of 1 / sigma_B and the correlation of mu_B with sigma_B.
    """

    fisher: Estimate | None
    two_term: Estimate | None
    self_inclusion: float
    shift: float

    @property
    def linear(self) -> float:
        """self_inclusion + shift."""
        return self.self_inclusion + self.shift


def layer_law(statistics: SampleStatistics, given: SampleGradients, drawn: SampleGradients | None) -> LayerLaw:
    """Return all first-order terms of one BN call (theory sheet D.1).

    ``given`` has the gradients at the given targets, ``drawn`` those at curvature draws, for the Fisher terms.
    """
    noise = statistics.noise
    self_inclusion = float((given.stacked * noise).double().sum(1).mean())
    shift = _shift(statistics, given)
    if drawn is None:
        return LayerLaw(None, None, self_inclusion, shift)
    by_gradient, _ = fisher_term([drawn.stacked], [noise])
    return LayerLaw(mean_estimate(by_gradient), _two_term(noise, drawn.stacked), self_inclusion, shift)


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


def _two_term(noise: Tensor, drawn: Tensor) -> Estimate:
    """Return 1/2 sum_d E_j[g_jd^2] E_i[v_id^2]: the paper's zeta with gamma in the variances, summed over channels."""
    variances = noise.double().square().mean(0).chunk(2)  # of what beta and gamma are moved by
    curvatures = drawn.double().square().chunk(2, dim=1)
    return mean_estimate(zeta(*variances, *curvatures).sum(1))


def _shift(statistics: SampleStatistics, given: SampleGradients) -> float:
    """Return sum_c gamma (E[g_beta] E[a q] + E[g_gamma] (3 E[q^2] + E[a^2]) / 2)."""
    a, q, gamma = statistics.mean.double(), statistics.half_square.double(), statistics.gamma.double()
    of_beta = given.beta.double().mean(0) * (a * q).mean(0)
    of_gamma = given.gamma.double().mean(0) * (3 * q * q + a * a).mean(0) / 2
    return float((gamma * (of_beta + of_gamma)).sum())


def linear_by_group(runs: SecondOrder, given: Mapping[str, SampleGradients]) -> Tensor:
    """Return the mean over each group's samples of g_j . eps, summed over the calls that were active; (groups,), float64."""
    total = torch.zeros(len(runs.members), dtype=torch.float64)
    for name, perturbation in runs.perturbations.items():
        gradients = given[name]
        total += (gradients.beta[runs.members].mean(1) * perturbation.shift).sum(1).double()
        total += (gradients.gamma[runs.members].mean(1) * perturbation.scale).sum(1).double()
    return total


def network_fisher(runs: SecondOrder, drawn: Mapping[str, SampleGradients]) -> Estimate:
    """Return 1/2 E_j E_k (g_j . eps_k)^2 over samples j and groups k, one form over all active calls (theory sheet D.2)."""
    noise = [torch.cat([p.shift, p.scale], dim=1).float() for p in runs.perturbations.values()]
    by_gradient, by_noise = fisher_term([drawn[name].stacked for name in runs.perturbations], noise)
    error = math.hypot(mean_estimate(by_gradient).stderr, mean_estimate(by_noise).stderr)
    return Estimate(float(by_noise.mean()), error)
