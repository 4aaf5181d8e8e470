"""The gap at another batch size from the noise of the outputs, rescaled: the loss keeps its nonlinearity whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnlens._ranks import gather
from bnlens.measure._estimate import Estimate
from bnlens.measure._population import Populations, population_handler
from bnlens.measure._probe import Probe
from bnlens.theory.noise import noise_scale

__all__ = ["OutputNoise"]

_LIMIT = 2**28  # bytes of outputs that are kept
_BLOCKS = 8  # of rounds, left out one at a time for the standard error


@dataclass
class OutputNoise:
    """Outputs of every sample in groups of M0, of K rounds.

    Attributes:
        size: M0.
        samples: P.
        rounds: outputs by round, (P, ...) each, on the CPU; nan where a round had no full group for a sample.
    """

    size: int
    samples: int
    rounds: dict[int, Tensor] = field(default_factory=dict)

    def wants(self, number: int) -> bool:
        """Return whether the outputs of round ``number`` would still fit."""
        each = next((kept.numel() * kept.element_size() for kept in self.rounds.values()), 0)
        return number in self.rounds or (len(self.rounds) + 1) * each <= _LIMIT

    def add(self, number: int, indices: Tensor, outputs: Tensor) -> None:
        """Add the outputs of some samples, (N, ...), in round ``number``."""
        if number not in self.rounds:
            self.rounds[number] = torch.full((self.samples, *outputs.shape[1:]), math.nan, dtype=outputs.dtype)
        self.rounds[number][indices[: len(outputs)]] = outputs

    def gaps(self, probe: Probe, populations: Populations, sizes: Sequence[int]) -> dict[int, Estimate]:
        """Return the gap at each of ``sizes`` (theory sheet D.4), from one more pass; empty with fewer than two rounds.

        With outputs z_j0 under population statistics and z_jr in a group of M0, their mean over rounds m_j, and s2 =
        f(M)/f(M0): the mean over j and r of loss(z_j0 + s2 (m_j - z_j0) + c (z_jr - m_j)) less that of loss(z_j0), where c^2 =
        (s2 - s2^2/K) K/(K - 1). Exact at M0. Standard errors are by jackknife over rounds.
        """
        if len(self.rounds) < 2:
            return {}
        kept = torch.stack(list(self.rounds.values()))
        blocks = torch.arange(len(kept)) % min(_BLOCKS, len(kept))
        subsets = [blocks >= 0, *(blocks != block for block in range(int(blocks.max()) + 1))]
        totals = torch.zeros(len(subsets), len(sizes), dtype=torch.float64)
        for batch in probe.pool.in_order(probe.batch_size):
            assert batch.indices is not None  # noqa: S101 - the samples are held
            with torch.no_grad():
                output, target = probe.outputs(batch, population_handler(populations))
                noisy = kept[:, batch.indices].to(output.device)
                base = probe.loss.per_sample(output, target)
                for row, subset in enumerate(subsets):
                    own = noisy[subset.to(noisy.device)]
                    there = own.isfinite().view(*own.shape[:2], -1).all(2)
                    count = there.sum(0)
                    mean = own.nan_to_num().sum(0) / _wide(count.clamp(min=1), output)
                    for column, size in enumerate(sizes):
                        squeeze = float(noise_scale(size, self.samples) / noise_scale(self.size, self.samples))
                        spread = ((squeeze - squeeze**2 / count) * count / (count - 1)).clamp(min=0).sqrt().nan_to_num()
                        centre = output + squeeze * (mean - output)
                        losses = torch.stack(
                            [
                                probe.loss.per_sample(centre + _wide(spread, output) * (z.nan_to_num() - mean), target)
                                for z in own
                            ]
                        )
                        gap = (losses - base).masked_fill(~there, 0).sum(0) / count.clamp(min=1)
                        totals[row, column] += float(gap[count > 1].double().sum())
        found = torch.stack(gather(totals)).sum(0) / self.samples
        error = (found[1:].var(0, unbiased=False) * (len(subsets) - 2)).sqrt()
        return {size: Estimate(float(found[0, i]), float(error[i])) for i, size in enumerate(sizes)}


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """Return values of samples, (N,), as they multiply outputs (N, ...)."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
