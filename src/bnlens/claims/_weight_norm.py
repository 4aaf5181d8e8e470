"""Nets with weight normalization (WN) in place of BN, alone or with the noise of one batch statistic, for E3 and E9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlens.claims import _noises
from bnlens.claims import _plans as plans
from bnlens.claims._claim import Job, Scale, Setup
from bnlens.errors import UsageError
from bnlens.experiments.networks import check_weight_norm

__all__ = ["ALONE", "LABELS", "jobs_of", "kinds_of", "parameters"]

ALONE: Mapping[str, Any] = {"M": plans.POPULATION, "weight_norm": True}
"""The kind of run with weight normalization and nothing else."""

LABELS = {"none": "WN", "mean": "WN + mean-only BN", "std": "WN + variance-only BN"}
"""What carries noise, with what the net is then called."""


def parameters(scale: Scale, data: Path | None) -> dict[str, Any]:
    """Return the parameters of E3 and E9: those of E4, and what nets with weight normalization have in place of them.

    ``wn_lr``, at a batch of 256, is the largest of 0.3, 0.1, 0.03 and 0.01 at which WN alone ends with the lowest train loss,
    or one within two standard errors of it. In the batches of E4 at scale full WN alone does not come to overfit, so there
    these nets train in batches of ``wn_batch_size`` images.
    """
    found = {**_noises.parameters(scale, data), "wn_lr": 0.03}
    return found if data is None or scale != "full" else {**found, "seeds": 5, "wn_batch_size": 64, "wn_lr": 0.1}


def _batch_size(setup: Setup) -> int:
    """Return the batch size of nets with weight normalization."""
    found: int = setup.parameters.get("wn_batch_size", setup.parameters["batch_size"])
    return found


def kinds_of(M: int) -> dict[str, dict[str, Any]]:
    """Return the kinds of run by what carries noise, in the order none, mean, std."""
    return {"none": {**ALONE}, **{noise: {**ALONE, "M": M, "noise": noise} for noise in ("mean", "std")}}


def jobs_of(claim: str, setup: Setup, kinds: Sequence[Mapping[str, Any]]) -> Sequence[Job]:
    """Return the jobs of these kinds, in batches as of nets with weight normalization.

    Raises:
        UsageError: besides what `bnlens.claims._noises.check_setup` raises, the net cannot have weight normalization.
    """
    _noises.check_setup(claim, setup)
    batch_size = _batch_size(setup)
    _noises.check_groups(claim, setup.parameters["M"], batch_size)
    net = setup.parameters["net"]
    try:
        if setup.check:
            check_weight_norm(net)
    except UsageError as error:
        raise UsageError(f"{claim}: parameter 'net', {net!r}: {error}") from error
    return [
        plans.network_job(setup, seed, **kind, batch_size=batch_size)
        for kind in kinds
        for seed in plans.seeds_of(setup)
    ]
