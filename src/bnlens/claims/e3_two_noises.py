"""E3: the noise of the batch mean alone, and that of the batch standard deviation alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnlens.claims import _noises
from bnlens.claims._claim import Claim, Finding, Job, Setup, Verdict
from bnlens.claims._network_runs import LOSSES, NetworkRuns, loss_columns
from bnlens.claims._paired import Estimate, estimate, share_of_distance

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]


def _jobs(setup: Setup) -> Sequence[Job]:
    return _noises.jobs_of("E3", setup)


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = NetworkRuns(results)
    kinds = _noises.kinds_of(runs)
    rows: list[dict[str, Any]] = []
    changes: dict[tuple[str, str], Estimate] = {}
    *_, none = kinds.values()
    for label, kind in kinds.items():
        row = {"noise of": label, "M": kind["M"], **loss_columns(runs, **kind)}
        for name, what in LOSSES:
            change = estimate(runs.values(what, **kind) - runs.values(what, **none))
            if kind is not none:
                changes[label, what] = change
                row |= change.columns(f"{name} less PN's")
        rows.append(row)
    effects, of_effects = {}, dict[str, dict[str, Any]]()
    for name, what in LOSSES:
        effects[what] = _noises.effects([runs.values(what, **kind) for kind in kinds.values()])
        for effect, values in effects[what].items():
            of_effects.setdefault(effect, {"noise of": f"effect: {effect}"}).update(estimate(values).columns(name))
    rows += of_effects.values()
    both, mean, std, _ = kinds
    train = [runs.values("train_loss", **kind) for kind in kinds.values()]
    sum_of_two, of_both = train[1] + train[2] - 2 * train[3], train[0] - train[3]
    share = share_of_distance(sum_of_two, of_both)
    told = "; ".join(
        f"{label}: {changes[label, 'train_loss'].value:+.3f} train, {changes[label, 'test_loss'].value:+.3f} test"
        for label in (mean, std, both)
    )
    return Finding(
        verdict=_verdict(
            [changes[label, "train_loss"] for label in (mean, std)],
            [changes[label, "test_loss"] for label in (mean, std)],
            estimate(effects["train_loss"]["interaction"]),
        ),
        measured=share.value,
        predicted=1.0,
        stderr=share.stderr,
        summary=(
            f"On {runs.data} ({runs.images} images) at M = {kinds[both]['M']}, loss less that of PN, by what carries noise: "
            f"{told}. Headline: the train loss that the two add alone, summed, over what they add together; "
            f"{runs.seeds(**none)} paired seeds."
        ),
        rows=rows,
    )


def _verdict(train: Sequence[Estimate], test: Sequence[Estimate], interaction: Estimate) -> Verdict:
    raises = all(change.in_errors >= 2 for change in train)
    if raises and all(change.in_errors <= -2 for change in test) and abs(interaction.in_errors) <= 2:
        return "holds"
    if raises and all(change.value < 0 for change in test):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.claims._curves import add_band, panels

    runs = NetworkRuns(results)
    kinds = _noises.kinds_of(runs)
    M = next(iter(kinds.values()))["M"]
    figure = panels(
        [[f"Training, M = {M}", f"Test, M = {M}"]],
        [[("epoch", "loss of the steps (nats per image)"), ("epoch", "test loss (nats per image)")]],
        height=460,
    )
    for index, (label, kind) in enumerate(kinds.items()):
        for column, what in ((1, "steps_loss"), (2, "test_loss")):
            curves = runs.curves(what, **kind)
            epochs = np.arange(1, curves.shape[1] + 1)
            add_band(figure, epochs, curves, name=label, index=index, panel=(1, column), legend=column == 1)
    return figure


CLAIM = Claim(
    id="E3",
    title="Two noises: of the batch mean and of the batch standard deviation",
    statement=(
        "The paper claims that BN regularises by the noise of both batch statistics, one term for each. A net in which one "
        "statistic alone is the batch's, the other the population's, is regularised by that one, and the two add up."
    ),
    source="arXiv 1809.00846, Theorem 1 and the experiments on its two terms; theory sheet A.2",
    agreement=(
        "Losses against PN, paired by seed. Holds: each noise alone raises the train loss and lowers the test loss by two "
        "standard errors or more, and in train loss the two add up (interaction within two standard errors of zero). Holds "
        "approximately: each raises the train loss by two standard errors, and lowers the test loss. Does not hold: otherwise."
    ),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_noises.parameters,
)
