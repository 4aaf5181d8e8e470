"""Groups of M samples with their own statistics, and the change of (beta, gamma) that has the same effect."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlens.errors import DataError
from bnlens.measure._intercept import Handler
from bnlens.measure._population import Population, Populations, normalise
from bnlens.measure._rows import SampleRows, owners
from bnlens.measure._valid import counted, valid_now

__all__ = ["Perturbation", "affine", "by_group", "ghost_handler", "mirrored_handler", "perturbation", "spread"]


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


def by_group(values: Tensor, group_size: int) -> Tensor:
    """Return the mean over each group of values per sample, (N, ...) to (groups, ...)."""
    return values.view(-1, group_size, *values.shape[1:]).mean(1)


@torch.no_grad()
def perturbation(
    h: Tensor, group_size: int, population: Population, gamma: Tensor, counts: Tensor | None = None
) -> Perturbation:
    """Return what the statistics of each group of the input of a BN call amount to, those of its valid values.

    Args:
        h: (N, C, ...), or (rows, C, ...) with the rows of each sample together.
        group_size: samples per group.
        population: statistics of the call.
        gamma: (C,).
        counts: rows of each sample, (N,), on the CPU; None for one.

    Raises:
        DataError: a group has fewer than two values of a channel that count.
    """
    wide = h.to(population.mean.dtype)
    sizes = group_size if counts is None else counts.view(-1, group_size).sum(1).tolist()
    parts, valid = torch.split(wide, sizes), valid_now()
    if valid is not None:
        parts = tuple(counted(part, rows) for part, rows in zip(parts, torch.split(valid, sizes), strict=True))
    fewest = min(parts, key=torch.numel)
    if fewest.numel() < 2 * fewest.shape[1]:
        kind = "rows" if valid is None else "valid values"
        raise DataError(
            f"{group_size} samples have {len(fewest)} {kind} together, too few for batch statistics; leave samples without "
            f"{kind} out, or take larger groups"
        )
    statistics = (torch.batch_norm_update_stats(part, None, None, 0.0) for part in parts)
    mean, variance = (torch.stack(column) for column in zip(*statistics, strict=True))
    sigma = (variance + population.eps).sqrt()
    return Perturbation(gamma * (population.mean - mean) / sigma, gamma * (population.sigma / sigma - 1))


def affine(h: Tensor, population: Population, gamma: Tensor, beta: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return gamma xhat + beta with a gamma and beta for each sample, (N, C), in the dtype of ``h``; see `perturbation`."""
    if counts is not None:
        whose = owners(counts, h.device)
        gamma, beta = gamma.index_select(0, whose), beta.index_select(0, whose)
    if h.ndim == 2:
        x = (h.to(gamma.dtype) - population.mean) / population.sigma
        return torch.addcmul(beta, gamma, x).to(h.dtype)
    samples = len(h)  # each image and channel is a channel of its own, so that one native call serves all
    mean, variance = population.mean.repeat(samples), population.variance.repeat(samples)
    flat = h.reshape(1, samples * h.shape[1], -1)
    args = (gamma.view(-1), beta.view(-1), mean, variance, False, 0.0, population.eps)
    y: Tensor = torch.native_batch_norm(flat, *args)[0]
    return y.view(h.shape)


def spread(moved: Perturbation, group_size: int, t: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return t eps for each sample of the groups: (shift, scale), (N, C) each."""
    shift, scale = (values.repeat_interleave(group_size, 0) for values in (moved.shift, moved.scale))
    return t * shift, t * scale


def ghost_handler(
    populations: Populations,
    active: Collection[str],
    group_size: int,
    rows: SampleRows,
    record: dict[str, Perturbation] | None = None,
) -> Handler:
    """Return a handler: group statistics in the ``active`` calls, noted in ``record``; population statistics in the others."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        population = populations[name]
        if name not in active:
            return normalise(h, population, gamma, beta)
        moved = perturbation(h, group_size, population, gamma, rows.counts)
        if record is not None:
            record[name] = moved
        shift, scale = spread(moved, group_size)
        return affine(h, population, gamma + scale, beta + shift, rows.counts)

    return handle


def mirrored_handler(
    populations: Populations, recorded: Mapping[str, Perturbation], group_size: int, rows: SampleRows
) -> Handler:
    """Return the antithetic twin of ``ghost_handler``: PN at (beta, gamma) minus each group's recorded perturbation."""

    def handle(name: str, h: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if name not in recorded:
            return normalise(h, populations[name], gamma, beta)
        shift, scale = spread(recorded[name], group_size, -1.0)
        return affine(h, populations[name], gamma + scale, beta + shift, rows.counts)

    return handle
