"""Judges training: losses over seeds, and how far one kind of run goes from another to a third.

A kind of run is the conditions on the configuration that select its runs, see `TrainingRuns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bnlens.claims._claim import Verdict
from bnlens.claims._estimate import Estimate, estimate, grade, share_of_distance
from bnlens.claims._plans import POPULATION
from bnlens.claims._results import TrainingRuns

__all__ = [
    "LOSSES",
    "MEASURES",
    "Kind",
    "Losses",
    "difference",
    "gamma_text",
    "grade_change",
    "grade_recovered",
    "grade_strengths",
    "losses_of",
    "sizes_of",
    "strength",
]

Kind = Mapping[str, Any]

LOSSES = {"train_loss": "train loss", "test_loss": "test loss"}
"""Entries of the results by which runs are judged, and what the tables call them."""

MEASURES = {**LOSSES, "test_accuracy": "test accuracy"}
"""The same with test accuracy."""


class Losses(NamedTuple):
    """Losses (nats per image) and accuracy of one kind of run, mean over seeds, and the number of seeds."""

    train_loss: Estimate
    test_loss: Estimate
    test_accuracy: Estimate
    excess: Estimate
    seeds: int

    @property
    def columns(self) -> dict[str, float]:
        """The columns of a table."""
        names = (*MEASURES.values(), "test less train loss")
        columns: dict[str, float] = {}
        for name, value in zip(names, self[:4], strict=True):
            columns |= value.columns(name)
        return {**columns, "seeds": self.seeds}


def losses_of(runs: TrainingRuns, **kind: Any) -> Losses:
    """Return what one kind of run reaches."""
    train, test, accuracy = (runs.values(what, **kind) for what in MEASURES)
    return Losses(estimate(train), estimate(test), estimate(accuracy), estimate(test - train), len(train))


def sizes_of(runs: TrainingRuns) -> list[int]:
    """Return the statistics batch sizes of the runs, infinity left out, ascending."""
    return [int(M) for M in runs.distinct("M") if M != POPULATION]


def difference(runs: TrainingRuns, what: str, one: Kind, other: Kind) -> Estimate:
    """Return the mean of an entry under ``one`` less that under ``other``, paired by seed."""
    return estimate(runs.values(what, **one) - runs.values(what, **other))


def strength(runs: TrainingRuns, what: str, kind: Kind, bn: Kind, pn: Kind) -> Estimate:
    """Return the share of the distance in a loss from PN to BN that a kind of run covers: 1 is BN's."""
    part, whole = (runs.values(what, **one) - runs.values(what, **pn) for one in (kind, bn))
    return share_of_distance(part, whole)


def grade_strengths(strengths: Iterable[Estimate]) -> Verdict:
    """Return the verdict on strengths, which should be 1; one standard error is forgiven."""
    return grade((found.less(1) for found in strengths), close=0.25, near=0.5, forgiven=1)


def grade_recovered(strength: Estimate) -> Verdict:
    """Return the verdict on a strength, which should be 1 or more; one standard error is forgiven."""
    return grade([Estimate(min(0.0, strength.value - 1), strength.stderr)], close=0.25, near=0.5, forgiven=1)


def grade_change(gain: Estimate) -> Verdict:
    """Return the verdict on a value that should be above 0: by two standard errors it is, by one approximately."""
    if gain.in_errors >= 2:
        return "holds"
    return "holds approximately" if gain.in_errors >= 1 else "does not hold here"


def gamma_text(runs: TrainingRuns, **kind: Any) -> str:
    """Return the rms of gamma by layer as a cell of a table."""
    return ", ".join(f"{gamma:.2f}" for gamma in runs.values("gamma", **kind).mean(0))
