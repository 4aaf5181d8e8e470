"""Gaps by running groups of M samples: measured, and to exact second order in the statistics' noise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.measure._intercept import Handler
from bnlens.measure._population import Population, Populations, normalise
from bnlens.measure._probe import Probe

__all__ = ["GroupRuns", "Perturbation", "Rounds", "SecondOrder", "group_gaps", "random_groups", "second_order"]


@dataclass(frozen=True)
class Perturbation:
    """Batch statistics of groups, written as the change of (beta, gamma) that has the same effect on a PN layer.

    With mu_B and sigma_B of a group (theory sheet D.1, all orders):
    ``shift = gamma (mu_P - mu_B) / sigma_B`` and ``scale = gamma (sigma_P / sigma_B - 1)``.

    Attributes:
        shift: change of beta, (groups, C).
        scale: change of gamma, (groups, C).
    """

    shift: Tensor
    scale: Tensor


def random_groups(size: int, group_size: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield disjoint random groups of ``group_size`` of ``size`` samples, several to a forward pass; the rest is left out.

    Yields:
        Indices of whole groups, (k group_size,), one group after another, at most about ``batch_size`` in all.
    """
    usable = size - size % group_size
    per_pass = max(1, batch_size // group_size) * group_size
    yield from torch.split(torch.randperm(size, generator=generator)[:usable], per_pass)


def _ghost(
    h: Tensor, group_size: int, population: Population, gamma: Tensor, beta: Tensor
) -> tuple[Tensor, Perturbation]:
    """Normalise each group by its own statistics; contiguous slices keep the native kernel (and the memory format)."""
    parts, means, inverse = [], [], []
    for part in torch.split(h, group_size):
        y, mean, invstd = torch.native_batch_norm(part, gamma, beta, None, None, True, 0.0, population.eps)
        parts.append(y)
        means.append(mean)
        inverse.append(invstd)
    invstd = torch.stack(inverse).to(gamma.dtype)
    shift = gamma * (population.mean - torch.stack(means).to(gamma.dtype)) * invstd
    return torch.cat(parts), Perturbation(shift, gamma * (population.sigma * invstd - 1))


def ghost_handler(
    populations: Populations, active: Collection[str], group_size: int, record: dict[str, Perturbation] | None = None
) -> Handler:
    """Return a handler: group statistics in the ``active`` calls, noted in ``record``; population statistics in the others."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in active:
            return normalise(h, populations[name], gamma, beta)
        y, perturbation = _ghost(h, group_size, populations[name], gamma, beta)
        if record is not None:
            record[name] = perturbation
        return y

    return handle


def mirrored_handler(populations: Populations, recorded: Mapping[str, Perturbation], group_size: int) -> Handler:
    """Return the antithetic twin of ``ghost_handler``: PN at (beta, gamma) minus each group's recorded perturbation."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in recorded:
            return normalise(h, populations[name], gamma, beta)
        groups = zip(torch.split(h, group_size), recorded[name].scale, recorded[name].shift, strict=True)
        return torch.cat([normalise(part, populations[name], gamma - g, beta - b) for part, g, b in groups])

    return handle


@dataclass(frozen=True)
class Rounds:
    """Shuffles of the pool into groups: ``count`` of them, reproducible from ``seed``, ``advance`` being called after each."""

    count: int
    seed: int
    advance: Callable[[], None] = lambda: None

    def groups(self, probe: Probe, group_size: int) -> Iterator[Tensor]:
        """Yield indices of whole groups, round by round; the same groups for the same seed and group size."""
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.count):
            yield from random_groups(len(probe.pool), group_size, probe.batch_size, generator)
            self.advance()


@dataclass(frozen=True)
class GroupRuns:
    """Groups of one size that were run with their own statistics.

    Attributes:
        gaps: measured gap of each group, (groups,), float64, nats per sample. Groups are disjoint within a round.
        members: indices of each group's samples, (groups, M).
    """

    gaps: Tensor
    members: Tensor


def group_gaps(
    probe: Probe, populations: Populations, baseline: Tensor, active: Collection[str], group_size: int, rounds: Rounds
) -> GroupRuns:
    """Return the measured gap of every group: mean loss with the group's own statistics less that with population statistics.

    Args:
        probe: the model on its samples.
        populations: population statistics of all calls.
        baseline: per-sample loss under them, (P,).
        active: the calls that use group statistics.
        group_size: M.
        rounds: how often the pool is reshuffled, and the seed.
    """
    handler = ghost_handler(populations, active, group_size)
    gaps, members = [], []
    for indices in rounds.groups(probe, group_size):
        gaps.append((probe.losses(indices, handler) - baseline[indices]).view(-1, group_size).mean(1))
        members.append(indices.view(-1, group_size))
    return GroupRuns(torch.cat(gaps), torch.cat(members))


@dataclass(frozen=True)
class SecondOrder(GroupRuns):
    """Groups of one size M0 run with their statistics and with the mirrored ones.

    Attributes:
        quadratic: (loss(eps) + loss(-eps) - 2 loss(0)) / 2 of each group, averaged over its samples, (groups,).
        perturbations: by call name, over all groups.
    """

    quadratic: Tensor
    perturbations: dict[str, Perturbation]


def second_order(
    probe: Probe, populations: Populations, baseline: Tensor, active: Collection[str], group_size: int, rounds: Rounds
) -> SecondOrder:
    """Return the antithetic second order of theory sheet D.1 and D.2, with eps recorded under BN propagation.

    A BN net on a group computes exactly what the PN net does at (beta, gamma) + eps, eps being the group's
    ``Perturbation`` in each active call. So one forward pass with the group's statistics gives loss(eps), and one with the
    mirrored perturbation gives loss(-eps); no derivative is taken, so kinks count in full.

    Arguments are those of ``group_gaps``, ``group_size`` being M0.
    """
    gaps, quadratic, members = [], [], []
    recorded: dict[str, list[Perturbation]] = {name: [] for name in active}
    for indices in rounds.groups(probe, group_size):
        record: dict[str, Perturbation] = {}
        plus = probe.losses(indices, ghost_handler(populations, active, group_size, record))
        minus = probe.losses(indices, mirrored_handler(populations, record, group_size))
        base = baseline[indices]
        gaps.append((plus - base).view(-1, group_size).mean(1))
        quadratic.append(((plus + minus) / 2 - base).view(-1, group_size).mean(1))
        members.append(indices.view(-1, group_size))
        for name, perturbation in record.items():
            recorded[name].append(perturbation)
    perturbations = {
        name: Perturbation(torch.cat([p.shift for p in parts]).cpu(), torch.cat([p.scale for p in parts]).cpu())
        for name, parts in recorded.items()
    }
    return SecondOrder(torch.cat(gaps), torch.cat(members), torch.cat(quadratic), perturbations)
