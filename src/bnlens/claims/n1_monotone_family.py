"""N1: batch normalization over M samples is a monotone family of regularisers, at a fixed optimizer batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._paired import Estimate, Runs, check_full_scale, estimate
from bnlens.claims._training import POPULATION, job_of_run, recipe_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]

_BATCH = 256
_SIZES: tuple[float | str, ...] = (4, 16, 64, 256, POPULATION)
_JUDGED = 2  # steps: 4 to 16 and 16 to 64
_SEEDS: Mapping[Scale, int] = {"quick": 4, "full": 6}


def _jobs(setup: Setup) -> Sequence[Job]:
    check_full_scale("N1", setup.scale, setup.data)
    recipe = recipe_of(setup.data)
    return [job_of_run(recipe, M, _BATCH, seed) for M in _SIZES for seed in range(setup.parameters["seeds"])]


def _steps(runs: Runs, what: str) -> list[Estimate]:
    """Change of a loss from one M to the next, paired by seed."""
    values = [runs.values(what, M, _BATCH) for M in _SIZES]
    return [estimate(after - before) for before, after in pairwise(values)]


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = Runs(results)
    train, test = _steps(runs, "train_loss"), _steps(runs, "test_loss")
    claimed = [Estimate(-step.value, step.stderr) for step in train[:_JUDGED]] + test[:_JUDGED]
    weakest = min(claimed, key=lambda step: step.in_errors)
    rows = []
    for index, M in enumerate(_SIZES):
        row: dict[str, Any] = {"M": M}
        for name, what, steps in (("train loss", "train_loss", train), ("test loss", "test_loss", test)):
            row |= estimate(runs.values(what, M, _BATCH)).columns(name)
            if index:
                row |= steps[index - 1].columns(f"change of {name}")
        row |= estimate(runs.values("test_accuracy", M, _BATCH)).columns("test accuracy")
        rows.append(row)
    first, last = rows[0], rows[_JUDGED]
    return Finding(
        verdict=_verdict(claimed),
        measured=weakest.in_errors,
        predicted=2.0,
        stderr=1.0,
        summary=(
            f"On {runs.data}, from M = {first['M']} to {last['M']} train loss goes from {first['train loss']:.3f} to "
            f"{last['train loss']:.3f} and test loss from {first['test loss']:.3f} to {last['test loss']:.3f} at optimizer "
            f"batch {_BATCH}. Headline: the weakest of the four steps, in its standard errors, over "
            f"{len(runs.seeds(_SIZES[0], _BATCH))} paired seeds."
        ),
        rows=rows,
    )


def _verdict(claimed: Sequence[Estimate]) -> Verdict:
    if all(step.in_errors >= 2 for step in claimed):
        return "holds"
    if all(step.in_errors >= 2 for step in claimed[:_JUDGED]) or all(step.value > 0 for step in claimed):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.render import PALETTE, new_figure

    runs = Runs(results)
    figure = new_figure(x="statistics batch size M", y="cross-entropy (nats per image)", xaxis_type="category")
    for name, what, color, symbol in (
        ("train", "train_loss", PALETTE[0], "circle"),
        ("test", "test_loss", PALETTE[1], "diamond"),
    ):
        estimates = [estimate(runs.values(what, M, _BATCH)) for M in _SIZES]
        figure.add_scatter(
            name=name,
            x=[str(M) for M in _SIZES],
            y=[e.value for e in estimates],
            error_y={"array": [e.stderr for e in estimates]},
            mode="lines+markers",
            line={"color": color},
            marker={"color": color, "symbol": symbol},
        )
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
        "Train loss falls and test loss rises from M = 4 to 16 and from 16 to 64, paired by seed. Holds: each of the four "
        "steps by two standard errors or more. Holds approximately: all four in that direction, or those of the train loss by "
        "two standard errors."
    ),
    works=(
        "ioffe2015batch",
        "hoffer2017train",
        "wu2021rethinking",
        "he2015delving",
        "alpaydin1998optical",
        "krizhevsky2009learning",
    ),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=lambda scale, _data: {"seeds": _SEEDS[scale]},
)
