"""E2: BN's regularisation over the batch size, for plain batch normalization and with the statistics batch size held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import estimate, finding, worst
from bnlens.claims._losses import grade_change, losses_of
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError

_FITTED = 0.1  # nats of train loss, from which on a run has converged
_parameters = partial(
    plans.parameters_where_bn_helps,
    M={"digits": 16, "quick": 16, "full": 16},
    batch_sizes=[16, 64, 256],
    steps={"digits": 200, "quick": 100, "full": 1000},
    epochs={"digits": 30, "quick": 10, "full": 40},
)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E2", setup)
    given = setup.parameters
    batches, M = sorted(set(given["batch_sizes"])), given["M"]
    if len(batches) < 2:
        raise UsageError(f"E2: parameter 'batch_sizes' needs at least two sizes, got {batches}")
    jobs: dict[str, Job] = {}
    for steps in (None, given["steps"]):
        for batch in batches:
            for size in (batch, M, plans.POPULATION):
                for seed in plans.seeds_of(setup):
                    job = plans.network_job(setup, seed, M=size, batch_size=batch, steps=steps)
                    jobs[job.name] = job  # M held at the batch's own size is plain BN
    return list(jobs.values())


class _Length(NamedTuple):
    """Runs of one length: until they converge (``steps`` None), or all of so many steps.

    ``gains`` are the test loss of PN less that of BN over M, (seeds,), by batch and M.
    """

    runs: TrainingRuns
    label: str
    steps: int | None
    batches: Sequence[int]
    held: int
    gains: Mapping[tuple[int, int], NDArray[np.float64]]

    def kind(self, batch: int, M: int | str) -> dict[str, Any]:
        return {"batch_size": batch, "M": M, "steps": self.steps}

    @property
    def first(self) -> NDArray[np.float64]:
        """The fall of the test loss by plain BN at the smallest batch."""
        return self.gains[self.batches[0], self.batches[0]]

    @property
    def last(self) -> NDArray[np.float64]:
        """The same at the largest batch."""
        return self.gains[self.batches[-1], self.batches[-1]]

    @property
    def kept(self) -> NDArray[np.float64]:
        """The further fall by BN over the M held at the largest batch."""
        return self.gains[self.batches[-1], self.held] - self.last

    @property
    def told(self) -> str:
        """All three, for a sentence."""
        first, last, kept = (estimate(values).brief("+.3f") for values in (self.first, self.last, self.kept))
        smallest, *_, largest = self.batches
        return f"{self.label}: {first} at batch {smallest}, {last} at batch {largest}, there {kept} more with $M = {self.held}$"

    @property
    def is_met(self) -> bool:
        """Whether BN over the smallest batch lowers the test loss, and the runs that are to converge have."""
        fitted = [
            estimate(self.runs.values("train_loss", **self.kind(batch, plans.POPULATION))) for batch in self.batches
        ]
        return estimate(self.first).in_errors >= 2 and (
            self.steps is not None or all(loss.value < _FITTED for loss in fitted)
        )


def _lengths(runs: TrainingRuns) -> list[_Length]:
    found = []
    for steps in runs.distinct("steps"):
        batches = runs.distinct("batch_size", steps=steps)
        sizes = {(batch, M) for batch in batches for M in runs.distinct("M", steps=steps, batch_size=batch)}
        finite = [(batch, int(M)) for batch, M in sizes if M != plans.POPULATION]
        (held,) = {M for batch, M in finite if batch != M} or {batches[0]}
        label = "to convergence" if steps is None else f"{steps} steps"

        def test(batch: int, M: int | str, steps: int | None = steps) -> NDArray[np.float64]:
            return runs.values("test_loss", batch_size=batch, M=M, steps=steps)

        gains = {(batch, M): test(batch, plans.POPULATION) - test(batch, M) for batch, M in finite}
        found.append(_Length(runs, label, steps, batches, held, gains))
    return sorted(found, key=lambda length: length.steps is not None)


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    lengths = _lengths(runs)
    parts: dict[str, Verdict] = {}
    ours: dict[str, Verdict] = {}
    for length in lengths:
        fades, kept = estimate(length.first - length.last), estimate(length.kept)
        for found, name, change in (
            (parts, f"regularisation fades, {length.label}", fades),
            (ours, f"M = {length.held} held keeps it (ours), {length.label}", kept),
        ):
            found[name] = grade_change(change) if length.is_met else "premise not met"
    rows = []
    for length in lengths:
        for batch, M in sorted(length.gains):
            config, result = runs.select(**length.kind(batch, M))[0]
            row = {"length": length.label, "batch size": batch, "M": M, "lr": config["lr"], "steps": result["steps"]}
            row |= losses_of(runs, **length.kind(batch, M)).columns
            of_pn = estimate(runs.values("test_loss", **length.kind(batch, plans.POPULATION)))
            rows.append(
                {**row, **of_pn.columns("PN test loss"), **estimate(length.gains[batch, M]).columns("PN less BN")}
            )
    told = "; ".join(length.told for length in lengths)
    headline = estimate(lengths[0].first - lengths[0].last)
    summary = (
        f"On {runs.data} ({runs.images} images), test loss of PN less that of BN over its batch, {told}. Headline: how much "
        f"less it is at the largest batch, {lengths[0].label}; {runs.seeds(**lengths[0].kind(lengths[0].batches[0], 'inf'))} "
        "paired seeds."
    )
    claimed = estimate(lengths[0].first).value
    return finding(worst(parts.values()), headline, claimed, summary, rows, parts=parts | ours)


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_points, panels

    runs = TrainingRuns(results)
    lengths = _lengths(runs)
    axes = [("batch size", "test loss (nats per image)")] * len(lengths)
    figure = panels([[f"Test loss, {length.label}" for length in lengths]], [axes], height=460)
    for column, length in enumerate(lengths, start=1):
        x = [str(batch) for batch in length.batches]
        kinds: dict[str, Sequence[int | str]] = {
            "plain BN, M = batch": length.batches,
            f"M = {length.held} held": [length.held] * len(x),
            "PN": [plans.POPULATION] * len(x),
        }
        for index, (name, sizes) in enumerate(kinds.items()):
            losses = [
                estimate(runs.values("test_loss", **length.kind(batch, M)))
                for batch, M in zip(length.batches, sizes, strict=True)
            ]
            add_points(figure, x, losses, name=name, index=index, panel=(1, column), legend=column == 1)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=[str(b) for b in lengths[0].batches])
    return figure


CLAIM = Claim(
    id="E2",
    title="The batch size, with the learning rate in proportion",
    statement=(
        "BN over its batch regularises less as the batch grows, with the learning rate in proportion: what it takes off the "
        "test loss of population normalization, at the same batch and length, is smaller at the largest batch than at the "
        "smallest. Ours, and apart: a statistics batch size M that is held keeps it."
    ),
    source="arXiv 1809.00846, experiments on batch size with the learning rate scaled; this library's dial",
    paper=PaperStatement(
        words="BN regularises less as the batch grows, with the learning rate in proportion to it.",
        section="Experiments in CNNs, on batch size",
        known="as remembered",
        differs="that a fixed M keeps the regularisation is our conclusion, and needs this library's dial.",
    ),
    agreement=(
        "Test loss of PN less that of BN, at the same batch, paired by seed; once with epochs enough that all converge, once "
        "with equal numbers of steps. Holds: at the largest batch it is less than at the smallest by two standard errors; "
        "approximately: by one. Apart, ours: at the largest batch BN over the M that is held gains more than BN over the "
        "batch, graded alike. Premise not met: BN over the smallest batch does not lower the test loss by two standard "
        f"errors, or, of the runs to convergence, a train loss of PN is above {_FITTED} nats. The verdict is the worse of the "
        "two lengths."
    ),
    quantity="nats per image that BN takes off the test loss at the smallest batch and no longer at the largest",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
