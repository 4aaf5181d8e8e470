"""Nets in which both statistics of BN, one of them or none carry the noise of M samples, for E3 and E4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Job, Scale, Setup
from bnlens.claims._losses import sizes_of
from bnlens.claims._results import TrainingRuns
from bnlens.errors import UsageError

__all__ = ["EFFECTS", "LABELS", "check_groups", "check_setup", "effects", "jobs_of", "kinds_of", "parameters"]

LABELS = {"both": "both (BN)", "mean": "mean alone", "std": "standard deviation alone", "none": "none (PN)"}
"""The statistics that carry noise, with their names in tables."""

EFFECTS = {"mean": "mean's noise", "std": "standard deviation's noise", "interaction": "interaction"}
"""Effects, and what the tables call them."""


def parameters(scale: Scale, data: Path | None) -> Mapping[str, Any]:
    """Return the parameters of E3 and E4: the common ones, for the net with two linear layers, and M."""
    seeds = {"digits": 4, "quick": 2, "full": 12}  # effects on single neurons are small
    return plans.parameters_where_bn_helps(scale, data, M=8, seeds=seeds)


def jobs_of(claim: str, setup: Setup) -> Sequence[Job]:
    """Return the jobs of two by two kinds: noise in the mean or not, in the standard deviation or not."""
    check_setup(claim, setup)
    M = setup.parameters["M"]
    return [plans.network_job(setup, seed, **kind) for kind in _kinds(M).values() for seed in plans.seeds_of(setup)]


def check_setup(claim: str, setup: Setup) -> None:
    """Raise where the parameters cannot give a judgement, see `bnlens.claims._plans.check_setup`, or M leaves no groups."""
    plans.check_setup(claim, setup)
    check_groups(claim, setup.parameters["M"], setup.parameters["batch_size"])


def check_groups(claim: str, M: int, batch: int) -> None:
    """Raise where a batch has no groups of M."""
    if batch <= M:
        raise UsageError(f"{claim}: M = {M} leaves no groups in a batch of {batch}; give a smaller parameter 'M'")


def kinds_of(runs: TrainingRuns) -> dict[str, dict[str, Any]]:
    """Return the kinds of run by what carries noise, in the order both, mean, std, none."""
    return _kinds(sizes_of(runs)[0])


def _kinds(M: int) -> dict[str, dict[str, Any]]:
    return {
        "both": {"M": M},
        "mean": {"M": M, "noise": "mean"},
        "std": {"M": M, "noise": "std"},
        "none": {"M": plans.POPULATION},
    }


def effects(values: Sequence[NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return the effects of the two noises and their interaction, (seeds,) each, from values with both, mean, std and none.

    A main effect is the difference that a noise makes, averaged over the other one on and off; the interaction is what both
    make beyond the sum of what each makes alone.

    >>> found = effects([np.array([6.0]), np.array([3.0]), np.array([2.0]), np.array([0.0])])
    >>> {name: float(value[0]) for name, value in found.items()}
    {'mean': 3.5, 'std': 2.5, 'interaction': 1.0}
    """
    both, mean, std, none = values
    parts = ((both + mean - std - none) / 2, (both + std - mean - none) / 2, both - mean - std + none)
    return dict(zip(EFFECTS, parts, strict=True))
