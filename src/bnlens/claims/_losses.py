"""Judges training: losses over seeds, and how far one kind of run goes from another to a third.

A kind of run is the conditions on the configuration that select its runs, see `TrainingRuns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from bnlens.claims._claim import Figure, Verdict
from bnlens.claims._estimate import Estimate, estimate, grade, share_of_distance
from bnlens.claims._plans import POPULATION
from bnlens.claims._results import TrainingRuns

__all__ = [
    "LOSSES",
    "MEASURES",
    "Kind",
    "Losses",
    "difference",
    "differences",
    "gamma_text",
    "grade_change",
    "grade_recovered",
    "grade_strengths",
    "losses_of",
    "losses_text",
    "sizes_of",
    "strength",
    "test_loss_figure",
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


def losses_text(losses: Mapping[str, Losses]) -> str:
    """Return train and test loss of kinds of run by their labels, for a sentence."""
    return "; ".join(f"{label} {one.train_loss.value:.3f} / {one.test_loss.value:.3f}" for label, one in losses.items())


def sizes_of(runs: TrainingRuns) -> list[int]:
    """Return the statistics batch sizes of the runs, infinity left out, ascending."""
    return [int(M) for M in runs.distinct("M") if M != POPULATION]


def difference(runs: TrainingRuns, what: str, one: Kind, other: Kind) -> Estimate:
    """Return the mean of an entry under ``one`` less that under ``other``, paired by seed."""
    return estimate(runs.values(what, **one) - runs.values(what, **other))


def differences(runs: TrainingRuns, one: Kind, other: Kind, less: str) -> dict[str, float]:
    """Return `difference` in each of `MEASURES` as columns of a table; ``less`` says of what: "less BN's"."""
    columns: dict[str, float] = {}
    for what, name in MEASURES.items():
        columns |= difference(runs, what, one, other).columns(f"{name} {less}")
    return columns


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


def test_loss_figure(
    runs: TrainingRuns, kinds: Mapping[str, Kind], over: str, at: Callable[[Losses], Estimate], *, height: int
) -> Figure:
    """Return a figure of the test loss in training and, beside it, at the end over something else.

    Args:
        runs: all of them.
        kinds: those that are drawn, by label.
        over: title of the horizontal axis at the end.
        at: from the losses of a kind to its place on that axis.
        height: of the figure in pixels.
    """
    from bnlens.claims._figures import add_band, add_points, panels

    loss = "test loss (nats per image)"
    figure = panels([["Test loss in training", "At the end"]], [[("epoch", loss), (over, loss)]], height=height)
    for index, (label, kind) in enumerate(kinds.items()):
        add_band(figure, runs.curves("test_loss", **kind), name=label, index=index)
        found = losses_of(runs, **kind)
        end = [at(found)], [found.test_loss]
        add_points(figure, *end, name=label, index=index, panel=(1, 2), legend=False, mode="markers")
    figure.update_yaxes(type="log", row=1, col=1)
    return figure
