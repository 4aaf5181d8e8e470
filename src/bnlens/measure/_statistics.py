"""Per-sample statistics of every BN call under population propagation, with the samples' losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.measure._intercept import Handler
from bnlens.measure._population import Populations, normalise
from bnlens.measure._probe import Probe

__all__ = ["SampleStatistics", "collect_statistics"]


@dataclass(frozen=True)
class SampleStatistics:
    """The contribution of each sample to the batch statistics of one BN call; xhat = (h - mu_P) / sigma_P.

    Attributes:
        mean: a, mean over pixels of xhat, (P, C), float32.
        half_square: q = (mean over pixels of xhat^2 less its mean over samples) / 2, (P, C), float32. That mean is 1
            but for the layer's epsilon.
        square: mean over pixels and samples of xhat^2, (C,), float64.
        cube: the same of xhat^3, (C,), float64.
        fourth: the same of xhat^4, (C,), float64.
        fourth_by_sample: mean over pixels of xhat^4, (P, C), float32.
        pixels: pixels per sample.
        gamma: (C,), ones where the layer has none.
    """

    mean: Tensor
    half_square: Tensor
    square: Tensor
    cube: Tensor
    fourth: Tensor
    fourth_by_sample: Tensor
    pixels: int
    gamma: Tensor

    @property
    def noise(self) -> Tensor:
        """First-order change of (beta, gamma) that a sample causes, v = (-gamma a, -gamma q), (P, 2C)."""
        return torch.cat([-self.gamma * self.mean, -self.gamma * self.half_square], dim=1)


@torch.no_grad()
def collect_statistics(
    probe: Probe, populations: Populations, advance: Callable[[], None] = lambda: None
) -> tuple[Tensor, dict[str, SampleStatistics]]:
    """Make one forward pass over the pool under population statistics.

    Returns:
        The loss of each sample, (P,), float64, nats; and the statistics by call name.
    """
    rows: dict[str, list[dict[str, Tensor]]] = {}
    scales: dict[str, tuple[Tensor, int]] = {}
    losses = []
    for indices in probe.pool.batches(probe.batch_size):
        losses.append(probe.losses(indices, _reducing(populations, rows, scales)))
        advance()
    statistics = {}
    for name, parts in rows.items():
        column = {key: torch.cat([part[key] for part in parts]).cpu() for key in parts[0]}
        gamma, pixels = scales[name]
        square = column["square"].double().mean(0)
        statistics[name] = SampleStatistics(
            mean=column["mean"].float(),
            half_square=((column["square"].double() - square) / 2).float(),
            square=square,
            cube=column["cube"].double().mean(0),
            fourth=column["fourth"].double().mean(0),
            fourth_by_sample=column["fourth"].float(),
            pixels=pixels,
            gamma=gamma.float().cpu(),
        )
    return torch.cat(losses), statistics


def _reducing(
    populations: Populations, rows: dict[str, list[dict[str, Tensor]]], scales: dict[str, tuple[Tensor, int]]
) -> Handler:
    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        population = populations[name]
        ones, zeros = torch.ones_like(population.mean), torch.zeros_like(population.mean)
        x = normalise(h.to(population.mean.dtype), population, ones, zeros)
        x = x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)
        square = x * x
        means = {"mean": x.mean(2), "square": square.mean(2), "cube": (square * x).mean(2)}
        rows.setdefault(name, []).append(means | {"fourth": (square * square).mean(2)})
        scales[name] = (gamma, x.shape[2])
        return normalise(h, population, gamma, beta)

    return handle
