"""Plans the runs of the claims on the statistics batch size, N1 to N4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.claims._claim import Job, Setup
from bnlens.claims._plans import check_full_scale
from bnlens.experiments import training

__all__ = ["BATCH", "WORKS", "jobs_of"]

BATCH = 256
"""Images per optimizer step."""

WORKS = ("wu2021rethinking", "he2015delving", "alpaydin1998optical", "krizhevsky2009learning")
"""The works that the recipe, the net and the data come from."""

_DIGITS: Mapping[str, Any] = {"net": "cnn", "data": "digits", "samples": 1000, "steps": 60, "lr": 0.3}
_CIFAR: Mapping[str, Any] = {"net": "cnn", "samples": 5000, "steps": 600, "lr": 0.3}

_FUNCTIONS = {
    None: training.train_net,
    "gamma-decay": training.train_net_with_gamma_decay,
    "curvature": training.train_net_with_curvature_penalty,
}


def jobs_of(claim: str, setup: Setup, kinds: Sequence[Mapping[str, Any]], **digits: Any) -> Sequence[Job]:
    """Return a job for each kind of run and seed; claims that ask for the same run share its result.

    Args:
        claim: id of the claim, for messages.
        setup: of the claim, with a parameter ``seeds``.
        kinds: for each kind ``M``, an int or ``"inf"``, and any of ``device_batch_size`` (256), ``share_statistics`` (False)
            and ``regulariser`` (None); see `bnlens.experiments.training`.
        **digits: entries of the recipe in place of its own, on the digits.

    Raises:
        UsageError: the scale is full and there are no data.
        DataError: the data cannot be read.
    """
    check_full_scale(claim, setup)
    recipe = {**_DIGITS, **digits} if setup.data is None else {**_CIFAR, "data": str(setup.data)}
    return [_job(recipe, seed=seed, **kind) for kind in kinds for seed in range(setup.parameters["seeds"])]


def _job(
    recipe: Mapping[str, Any],
    *,
    M: int | str,
    device_batch_size: int = BATCH,
    share_statistics: bool = False,
    regulariser: str | None = None,
    seed: int,
) -> Job:
    config = {**recipe, "statistics_batch_size": M, "device_batch_size": device_batch_size}
    config |= {"share_statistics": share_statistics, "regulariser": regulariser, "seed": seed}
    way = "-shared" if share_statistics else f"-{regulariser}" if regulariser else ""
    passes = recipe["steps"] * BATCH / device_batch_size
    cost = recipe["steps"] * recipe["samples"] / 40_000 * (1.3 if share_statistics else 1) + passes * 0.004
    return Job(f"M{M}-device{device_batch_size}{way}-seed{seed}", _FUNCTIONS[regulariser], config, cost=cost)
