"""Finite-size simulations that the closed forms are held against."""

from __future__ import annotations

from bnlens.simulate.dynamics import SimulatedTrajectory, simulate_dynamics
from bnlens.simulate.gamma import GammaEstimate, simulate_gamma
from bnlens.simulate.gap import GapEstimate, simulate_gap

__all__ = ["GammaEstimate", "GapEstimate", "SimulatedTrajectory", "simulate_dynamics", "simulate_gamma", "simulate_gap"]
