"""The gap of a single unit, and how far batch normalization shrinks its gamma, by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlens.theory import Unit

__all__ = ["make_unit", "simulate_gaps", "simulate_shrink"]


def make_unit(name: str, at_optimum: bool) -> Unit:
    """Return the unit with the teacher of the theory sheet; at the optimum the ReLU unit sees its own kind of target."""
    from bnlens.theory import get_unit, relu

    return relu(1.0) if name == "relu" and at_optimum else get_unit(name)


def simulate_gaps(
    *,
    unit: str,
    distribution: str,
    at_optimum: bool,
    gamma: float,
    beta: float,
    batch_sizes: Sequence[int],
    samples: int,
    seed: int,
    statistics: str = "own",
    noises: Sequence[str] = ("both",),
) -> dict[str, Any]:
    """Simulate gaps, keyed by noise and statistics batch size, each with gap and stderr in nats per sample."""
    from bnlens.simulate import simulate_gap

    results: dict[str, Any] = {}
    for offset, noise in enumerate(noises):
        for batch_size in batch_sizes:
            more: dict[str, Any] = {"statistics": statistics, "noise": noise, "samples": samples}
            more |= {"batch_size": batch_size, "seed": seed + 1000 * offset}
            estimate = simulate_gap(make_unit(unit, at_optimum), distribution, gamma=gamma, beta=beta, **more)
            results[f"{noise}-M{batch_size}"] = {"gap": estimate.gap, "stderr": estimate.stderr}
    return results


def simulate_shrink(
    *, unit: str, distribution: str, beta: float, batch_size: int, samples: int, seed: int
) -> dict[str, float]:
    """Simulate M (1 - gamma_BN / gamma*), with its standard error, and the optimum gamma*."""
    from bnlens.simulate import simulate_gamma

    estimate = simulate_gamma(
        make_unit(unit, at_optimum=True), distribution, beta=beta, batch_size=batch_size, samples=samples, seed=seed
    )
    return {"shrink": estimate.shrink, "stderr": estimate.shrink_stderr, "optimum": estimate.optimum}
