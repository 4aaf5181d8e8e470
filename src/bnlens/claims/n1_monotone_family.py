"""N1: batch normalization over M samples is a monotone family of regularisers, at a fixed optimizer batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bnlens.claims import _dial
from bnlens.claims._claim import Claim, Figure, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._figures import add_estimates
from bnlens.claims._plans import POPULATION
from bnlens.claims._results import Results, TrainingRuns

_SIZES: tuple[int | str, ...] = (4, 16, 64, _dial.BATCH, POPULATION)
_JUDGED = 2  # steps: 4 to 16 and 16 to 64
_SEEDS: Mapping[Scale, int] = {"quick": 4, "full": 6}


def _jobs(setup: Setup) -> Sequence[Job]:
    return _dial.jobs_of("N1", setup, [{"M": M} for M in _SIZES])


class _Loss(NamedTuple):
    """A loss at each M, and its changes from one M to the next, paired by seed."""

    name: str
    at: Sequence[Estimate]
    steps: Sequence[Estimate]


def _losses(runs: TrainingRuns) -> list[_Loss]:
    found = []
    for name in ("train", "test"):
        values = [runs.values(f"{name}_loss", M=M) for M in _SIZES]
        steps = [estimate(after - before) for before, after in pairwise(values)]
        found.append(_Loss(name, [estimate(one) for one in values], steps))
    return found


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    train, test = losses = _losses(runs)
    claimed = [step.negated for step in train.steps[:_JUDGED]] + [*test.steps[:_JUDGED]]
    weakest = min(claimed, key=lambda step: step.in_errors)
    rows = []
    for index, M in enumerate(_SIZES):
        row: dict[str, Any] = {"M": M}
        for loss in losses:
            row |= loss.at[index].columns(f"{loss.name} loss")
            if index:
                row |= loss.steps[index - 1].columns(f"change of {loss.name} loss")
        row |= estimate(runs.values("test_accuracy", M=M)).columns("test accuracy")
        rows.append(row)
    summary = (
        f"On {runs.data}, from $M = {_SIZES[0]}$ to {_SIZES[_JUDGED]} train loss goes from {train.at[0].value:.3f} to "
        f"{train.at[_JUDGED].value:.3f} and test loss from {test.at[0].value:.3f} to {test.at[_JUDGED].value:.3f} at "
        f"optimizer batch {_dial.BATCH}. Headline: the weakest of the four steps, in its standard errors, over "
        f"{runs.seeds(M=_SIZES[0])} paired seeds."
    )
    return finding(_verdict(claimed), Estimate(weakest.in_errors, 1.0), 2.0, summary, rows)


def _verdict(claimed: Sequence[Estimate]) -> Verdict:
    if all(step.in_errors >= 2 for step in claimed):
        return "holds"
    if all(step.in_errors >= 2 for step in claimed[:_JUDGED]) or all(step.value > 0 for step in claimed):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(x="statistics batch size M", y="cross-entropy (nats per image)", xaxis_type="category")
    sizes = [str(M) for M in _SIZES]
    looks = zip(_losses(TrainingRuns(results)), PALETTE, ("circle", "diamond"), strict=False)
    for loss, color, symbol in looks:
        look = {"line": {"color": color}, "marker": {"color": color, "symbol": symbol}}
        add_estimates(figure, loss.name, sizes, loss.at, mode="lines+markers", **look)
    return figure


CLAIM = Claim(
    id="N1",
    title="BN over M samples is a monotone family",
    statement=(
        "At a fixed optimizer batch, a smaller statistics batch size gives a higher train loss and a lower test loss: BN "
        "regularises, and M sets how much."
    ),
    source="arXiv 1809.00846, sections 3 and 5; extends them by a batch size that changes nothing but the statistics",
    agreement=(
        "Train loss falls and test loss rises from $M = 4$ to 16 and from 16 to 64, paired by seed. Holds: each of the four "
        "steps by two standard errors or more. Holds approximately: all four in that direction, or those of the train loss by "
        "two standard errors."
    ),
    quantity="standard errors of the weakest of the four steps; the claim is a lower bound",
    works=("ioffe2015batch", "hoffer2017train", *_dial.WORKS),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=lambda scale, _data: {"seeds": _SEEDS[scale]},
)
