"""Monte-Carlo estimate of the gamma that minimises the loss under batch statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnlens._arguments import AtLeastTwo, Count, Seed, checked
from bnlens.errors import UsageError
from bnlens.simulate._batches import BatchStream, Chunk
from bnlens.simulate._sources import FloatArray
from bnlens.theory import Distribution, Statistics, Unit, get_distribution, get_unit, optimal_gamma

__all__ = ["GammaEstimate", "simulate_gamma"]

_MAX_STEPS = 8


@dataclass(frozen=True)
class GammaEstimate:
    """A simulated minimiser of the loss over gamma, beta held fixed.

    Attributes:
        gamma: gamma_BN, the minimiser under batch statistics.
        stderr: its standard error.
        optimum: gamma*, the minimiser under population statistics (exact, by quadrature).
        batch_size: statistics batch size M.
        samples: pre-activations drawn.
        statistics: "own" or "fresh".
    """

    gamma: float
    stderr: float
    optimum: float
    batch_size: int
    samples: int
    statistics: Statistics

    @property
    def shrink(self) -> float:
        """M (1 - gamma_BN / gamma*), which tends to a constant as M grows."""
        return self.batch_size * (1 - self.gamma / self.optimum)

    @property
    def shrink_stderr(self) -> float:
        """Standard error of `shrink`."""
        return self.batch_size * self.stderr / abs(self.optimum)


@checked
def simulate_gamma(
    unit: str | Unit,
    distribution: str | Distribution,
    *,
    beta: float = 0.0,
    batch_size: AtLeastTwo,
    statistics: Statistics = "own",
    samples: Count = 2_000_000,
    seed: Seed = 0,
    progress: bool = False,
) -> GammaEstimate:
    """Estimate gamma_BN, the root of the mean score E[l'(gamma xh + beta) xh] with xh = (x - m)/S.

    The score is averaged over batches with the controls of `simulate_gap`. Its root is found by the secant method on
    common random numbers: every step draws the same batches again, so the root is exact for them and the standard
    error of gamma_BN is that of the mean score over its slope. It starts at gamma*, where the PN score vanishes.

    Args:
        unit: a name or a `bnlens.theory.Unit`.
        distribution: a name or a `bnlens.theory.Distribution`.
        beta: shift, held fixed.
        batch_size: M >= 2; heavy-tailed and fresh statistics need M >= 16 for a finite variance of 1/S.
        statistics: "own" or "fresh", biased variance.
        samples: pre-activations to draw, rounded up to whole batches.
        seed: seed of the common random numbers.
        progress: whether to show a progress bar per step on standard error.

    Raises:
        UsageError: for an unknown name, M < 2, too few samples, or a score whose root is not found in 8 steps.

    Source: theory sheet A.3 (c), A.5.

    >>> estimate = simulate_gamma("linear", "gaussian", batch_size=32, samples=100_000)
    >>> abs(estimate.gamma - 0.8 * 0.97635) < 4 * estimate.stderr
    True
    """
    unit, distribution = get_unit(unit), get_distribution(distribution)
    if statistics == "paper":
        raise UsageError('statistics="paper" has no gamma simulation: choose "own" or "fresh".')
    optimum = optimal_gamma(unit, distribution, beta=beta)
    stream = BatchStream(distribution, batch_size=batch_size, samples=samples, seed=seed, statistics=statistics)

    def score(gamma: float) -> tuple[float, float]:
        def of_chunk(chunk: Chunk) -> FloatArray:
            normalised = chunk.normalised
            return np.asarray((unit.slope(gamma * normalised + beta, chunk.x) * normalised).mean(axis=1))

        return stream.average(of_chunk, progress=progress, title=f"gamma at M = {batch_size}")

    previous, gamma = optimum, optimum * (1 - 1 / stream.batch_size)
    previous_score, _ = score(previous)
    for _ in range(_MAX_STEPS):
        current, error = score(gamma)
        slope = (current - previous_score) / (gamma - previous)
        if not slope > 0:
            break
        stderr = error / slope
        step = -current / slope
        if abs(step) <= 0.01 * stderr:
            return GammaEstimate(gamma + step, stderr, optimum, stream.batch_size, stream.samples, statistics)
        previous, previous_score, gamma = gamma, current, gamma + step
    raise UsageError(
        f"The loss of unit {unit.name!r} at batch_size={batch_size} has no minimum of gamma near {optimum:.4g}: "
        "use a larger batch_size or more samples."
    )
