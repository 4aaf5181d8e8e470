"""Trajectories of students of finite size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlens.theory.dynamics import System

__all__ = ["make_system", "simulate_trajectory", "solve_effective_rates"]


def make_system(kind: str, **parameters: Any) -> System:
    """Return a system of `bnlens.theory.dynamics` by the name of its class."""
    from bnlens.theory import dynamics

    system: System = getattr(dynamics, kind)(**parameters)
    return system


def simulate_trajectory(
    *,
    kind: str,
    parameters: Mapping[str, Any],
    start: Mapping[str, Any],
    times: Sequence[float],
    size: int,
    runs: int,
    seed: int,
) -> dict[str, Any]:
    """Simulate a trajectory: a list over the times for each order parameter and for its standard error."""
    from bnlens.simulate import simulate_dynamics

    path = simulate_dynamics(make_system(kind, **parameters), times, **start, size=size, runs=runs, seed=seed)
    columns = {str(column): values.tolist() for column, values in path.to_frame().items()}
    return {**columns, "tau": path.tau.tolist(), "size": size}


def solve_effective_rates(*, systems: Sequence[Mapping[str, Any]], tau: float) -> dict[str, Any]:
    """Solve the equations up to a time: eta gamma/L^2 of each system, given by ``kind``, ``parameters`` and ``start``."""
    rates = []
    for one in systems:
        path = make_system(one["kind"], **one["parameters"]).solve([tau], **one["start"])
        rates.append(float(path.effective_learning_rate[-1]))
    return {"rates": rates}
