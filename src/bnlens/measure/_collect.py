"""One pass over the pool under population statistics: losses, and streaming sums of what each sample adds to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnlens._ranks import gather
from bnlens.measure._intercept import Handler
from bnlens.measure._nodes import CallGradients, Node, node, standardise
from bnlens.measure._pool import SamplePool
from bnlens.measure._population import Population, Populations
from bnlens.measure._probe import Probe
from bnlens.measure._ranks import in_number_order
from bnlens.measure._rows import Average, pixel_mean
from bnlens.measure._valid import valid_now
from bnlens.moments import CrossMoments
from bnlens.theory.zeta import zeta

__all__ = ["COLUMNS", "CallNoise", "CallSums", "Collected", "Kept", "collect"]

COLUMNS = ("self_inclusion", "pixel_mean", "mean", "pixel_std", "std", "kurtosis", "two_term")
"""Numbers that a sample adds to a call. Their covariances are streamed, so that standard errors need no sample."""

_LIMIT = 2**28  # bytes of gradients and noise of samples that are kept


@dataclass(frozen=True)
class CallNoise:
    """The part of each sample in the batch statistics of one BN call, to first order; xhat = (h - mu_P) / sigma_P.

    Attributes:
        mean: a, mean over pixels of xhat, (N, C).
        half_square: q = (mean over pixels of xhat^2 less its mean over the pool) / 2, (N, C).
        excess: values of the sample over their mean number in the pool, less 1, (N, 1); zero but for samples of several rows,
            some more than others. "Mean over pixels" then is the sum over rows and pixels over that mean number, and q takes
            off the mean over the pool as often as the sample has values, so that a and q average to zero.
        moved: change of (beta, gamma) that the sample causes, v = (-gamma a, -gamma q), (N, 2C).
    """

    mean: Tensor
    half_square: Tensor
    excess: Tensor
    moved: Tensor

    @classmethod
    def of(cls, x: Tensor, population: Population, gamma: Tensor, average: Average = pixel_mean) -> CallNoise:
        """From xhat as `standardise` gives it, (rows, C, pixels); ``average`` is over each sample's part."""
        a, count = average(x), average(torch.ones_like(x[:, :1]))
        q = (average(x.square()) - population.square * count) / 2
        return cls(a, q, count - 1, torch.cat([-gamma * a, -gamma * q], dim=1))


@dataclass
class CallSums:
    """Sums over the samples of the pool, of one BN call.

    Attributes:
        population: its statistics.
        gamma: (C,), float64, ones where the layer has none.
        pixels: pixels per sample; rows times pixels, mean over the pool, where a sample has several rows, or valid ones.
        channels: sums over samples of a^2, q^2, a (q + excess), of the gradients of beta and gamma at the given targets, of the
            squares of those at the drawn ones, and of q excess; (8, C), float64.
        samples: the numbers per sample of ``COLUMNS``.
        reached: whether a gradient ever came.
    """

    population: Population
    gamma: Tensor
    pixels: float
    channels: Tensor = field(init=False)
    samples: CrossMoments = field(default_factory=lambda: CrossMoments(len(COLUMNS)))
    reached: bool = False

    def __post_init__(self) -> None:
        self.channels = torch.zeros(8, len(self.gamma), dtype=torch.float64)

    def add(self, noise: CallNoise, fourth: Tensor, given: CallGradients | None, drawn: CallGradients | None) -> None:
        """Add a batch; ``fourth`` is the mean over pixels of xhat^4, (N, C), as `CallNoise` takes it."""
        self.reached = self.reached or given is not None
        found = noise.mean, noise.half_square, noise.excess, fourth
        a, q, excess, fourth = (values.cpu().double() for values in found)
        nothing = torch.zeros(len(a), 2 * a.shape[1], dtype=torch.float64)
        g, d = (nothing if found is None else found.stacked.cpu().double() for found in (given, drawn))
        products = (a * a, q * q, a * (q + excess), *g.chunk(2, dim=1), *d.square().chunk(2, dim=1), q * excess)
        self.channels += torch.stack([product.sum(0) for product in products])
        square = self.population.square.cpu().double()
        # as with q: a sample of many values has that much more of the mean, which is no deviation from it
        fourth = fourth - excess * square.square() * (self.population.excess_kurtosis.cpu().double().nan_to_num() + 3)
        columns = {
            "self_inclusion": (g * noise.moved.cpu().double()).sum(1),
            "pixel_mean": (square + 2 * q).sum(1),
            "mean": a.square().sum(1),
            "pixel_std": ((fourth - square.square()) / 4 - square * q).sum(1),
            "std": q.square().sum(1),
            "kurtosis": self._kurtosis(a, q, fourth, square),
            "two_term": zeta(*self._variances(), *d.square().chunk(2, dim=1)).sum(1),
        }
        self.samples.update(torch.stack([columns[name] for name in COLUMNS], dim=1))

    def _variances(self) -> tuple[Tensor, Tensor]:
        """Return those of the noise of beta and gamma, were pixels independent (theory sheet A.1), (C,) each.

        The two-term value takes the measured ones, which are known after the pass; for its relative error these do.
        """
        kurtosis = self.population.excess_kurtosis.cpu().double().nan_to_num()
        return self.gamma.square(), self.gamma.square() * (kurtosis + 2) / 4

    def _kurtosis(self, a: Tensor, q: Tensor, fourth: Tensor, square: Tensor) -> Tensor:
        """Return the influence of each sample on the excess kurtosis m4 / m2^2 - 3, mean over live channels, (N,).

        The influence of the mean enters through m3, that of the variance through m4.
        """
        live = square > 0.5  # a dead channel is all epsilon and has no kurtosis
        if not live.any():
            return a.new_zeros(len(a))
        kurtosis = self.population.excess_kurtosis.cpu().double() + 3
        of_mean = 4 * self.population.skewness.cpu().double() * a / square.sqrt()
        return (fourth / square.square() - of_mean - 4 * kurtosis * q / square)[:, live].mean(1) - 3

    def merge(self, other: CallSums) -> None:
        """Add the samples of another rank."""
        self.channels = self.channels + other.channels
        self.samples.merge(other.samples)
        self.reached = self.reached or other.reached


@dataclass(frozen=True)
class Kept:
    """Gradients and noise of each sample by call name, (P, 2C) on the CPU each.

    Attributes:
        moved: v of `CallNoise`.
        given: gradients of (beta, gamma) at the data's targets; calls that no gradient reaches are missing.
        drawn: at curvature draws, zeros for such calls; empty unless the Fisher matrix was asked for.
    """

    moved: dict[str, Tensor]
    given: dict[str, Tensor] = field(default_factory=dict)
    drawn: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Collected:
    """The outcome of `collect`.

    Attributes:
        losses: under population statistics, (P,), float64, nats, in the order of the pool; one for each batch, if the loss
            couples its samples.
        running: losses under other statistics less these; None if not asked for.
        calls: sums by call name, in the order of execution.
        kept: what the Fisher matrix needs, or controls without a pass of their own; None if it does not fit.
    """

    losses: Tensor
    running: Tensor | None
    calls: dict[str, CallSums]
    kept: Kept | None


def collect(
    probe: Probe,
    populations: Populations,
    *,
    seed: int,
    other: Handler | None = None,
    fisher: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Collected:
    """Make one forward pass over the pool, and a backward pass for each kind of target, under population statistics.

    Args:
        probe: the model on its samples.
        populations: population statistics of all calls.
        seed: of the curvature draws, which are made where the loss has a likelihood.
        other: a handler, to run the pool under it too.
        fisher: keep what the Fisher matrix needs: 24 bytes per sample and channel. Without it 16 are kept, if that is at most
            256 MiB in all and passes over the same samples do not differ.
        advance: called after each batch.
    """
    calls: dict[str, CallSums] = {}
    losses: list[tuple[int, tuple[Tensor, Tensor | None]]] = []
    rows: list[tuple[int, dict[str, list[Tensor]]]] = []
    keep = fisher or _fits(probe, populations)
    for batch in probe.pool.in_order(probe.graph_rows or probe.batch_size):
        seen: dict[str, tuple[CallNoise, Tensor]] = {}
        result = node(
            probe,
            batch,
            populations,
            watch=_noting(probe, populations, calls, seen),
            draws=_generator(probe, seed, batch.number),
        )
        running = None if other is None else probe.losses(batch, other) - result.losses
        own = slice(1 if probe.loss.couples else None)
        losses.append((batch.number, (result.losses[own], None if running is None else running[own])))
        for name, (noise, fourth) in seen.items():
            calls[name].add(noise, fourth, result.given.get(name), result.drawn.get(name))
        if keep:
            rows.append((batch.number, {name: _row(noise, result, name, fisher) for name, (noise, _) in seen.items()}))
        advance()
    ordered = in_number_order(losses)
    changes = [change for _, change in ordered if change is not None]
    return Collected(
        torch.cat([loss for loss, _ in ordered]),
        torch.cat(changes) if changes else None,
        _merged_calls(calls),
        _kept(in_number_order(rows), calls) if keep else None,
    )


def _generator(probe: Probe, seed: int, number: int) -> torch.Generator | None:
    if probe.loss.likelihood is None:
        return None
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)  # however the batches are spread


def _noting(
    probe: Probe, populations: Populations, calls: dict[str, CallSums], seen: dict[str, tuple[CallNoise, Tensor]]
) -> Callable[[str, Tensor, Tensor], None]:
    def watch(name: str, h: Tensor, gamma: Tensor) -> None:
        population = populations[name]
        x, average = standardise(h, population), probe.average(population.count)
        seen[name] = CallNoise.of(x, population, gamma, average), average(x.square().square_())
        pixels = population.count / len(probe.pool) if probe.rows.folded or valid_now() is not None else x.shape[2]
        calls.setdefault(name, CallSums(population, gamma.cpu().double(), pixels))

    return watch


def _fits(probe: Probe, populations: Populations) -> bool:
    """Return whether gradients and noise of each sample may be kept, and are these samples' in every pass."""
    if probe.loss.couples or probe.stochastic or not isinstance(probe.pool, SamplePool):
        return False
    values = 4 * sum(population.mean.numel() * population.mean.element_size() for population in populations.values())
    return len(probe.pool) * values <= _LIMIT


def _row(noise: CallNoise, result: Node, name: str, fisher: bool) -> list[Tensor]:
    """Return noise and gradients of a batch, of which the last is at curvature draws."""
    found = [result.given.get(name), *([result.drawn.get(name)] if fisher else [])]
    return [noise.moved.cpu(), *(torch.zeros_like(noise.moved).cpu() if g is None else g.stacked.cpu() for g in found)]


def _kept(rows: list[dict[str, list[Tensor]]], calls: dict[str, CallSums]) -> Kept:
    columns = {name: [torch.cat(parts) for parts in zip(*(row[name] for row in rows), strict=True)] for name in rows[0]}
    given = {name: column[1] for name, column in columns.items() if calls[name].reached}
    return Kept({name: column[0] for name, column in columns.items()}, given, _last(columns))


def _last(columns: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: column[2] for name, column in columns.items() if len(column) > 2}


def _merged_calls(calls: dict[str, CallSums]) -> dict[str, CallSums]:
    first, *others = gather(calls)
    for other in others:
        for name, sums in other.items():
            first[name].merge(sums)
    return first
