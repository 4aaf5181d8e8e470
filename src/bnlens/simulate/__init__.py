"""Finite-size simulations that the closed forms are held against.

Training sets, students and learning curves are in `bnlens.simulate.generalization`.
"""

from __future__ import annotations

from bnlens.simulate import generalization
from bnlens.simulate.dynamics import SimulatedTrajectory, simulate_dynamics
from bnlens.simulate.gamma import GammaEstimate, simulate_gamma
from bnlens.simulate.gap import GapEstimate, simulate_gap

__all__ = [
    "GammaEstimate",
    "GapEstimate",
    "SimulatedTrajectory",
    "generalization",
    "simulate_dynamics",
    "simulate_gamma",
    "simulate_gap",
]
