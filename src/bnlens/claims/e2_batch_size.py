"""E2: accuracy over the batch size, for plain batch normalization and with the statistics batch size held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._losses import losses_of
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError

__all__ = ["CLAIM"]


def _parameters(scale: Scale, data: Path | None) -> Mapping[str, Any]:
    batches = {"digits": [16, 64, 256], "quick": [16, 64, 256], "full": [16, 64, 256, 1024]}
    return plans.parameters(scale, data, M={"digits": [16], "quick": [64], "full": [64]}, batch_sizes=batches)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E2", setup)
    batches = sorted(set(setup.parameters["batch_sizes"]))
    if len(batches) < 2:
        raise UsageError(f"E2: parameter 'batch_sizes' needs at least two sizes, got {batches}")
    jobs: dict[str, Job] = {}
    for M in [None, *dict.fromkeys(setup.parameters["M"])]:
        for batch in batches:
            for seed in plans.seeds_of(setup):
                job = plans.network_job(setup, seed, M=batch if M is None else M, batch_size=batch)
                jobs[job.name] = job  # the dial at the batch's own size is plain BN
    return list(jobs.values())


def _batches(runs: TrainingRuns) -> list[int]:
    return runs.distinct("batch_size")


def _dials(runs: TrainingRuns) -> list[int | str]:
    """Statistics batch sizes that are held: those with a run at every batch size; finite ones first."""
    sizes = runs.distinct("statistics_batch_size")
    return [M for M in sizes if all(runs.seeds(M=M, batch_size=batch) for batch in _batches(runs))]


def _series(runs: TrainingRuns) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and runs by batch size: plain BN, then each dial."""
    batches = _batches(runs)
    yield "plain BN, M = batch", [{"M": batch, "batch_size": batch} for batch in batches]
    for M in _dials(runs):
        name = "PN" if plans.POPULATION == M else f"M = {M}"
        yield name, [{"M": M, "batch_size": batch} for batch in batches]


def _fall(runs: TrainingRuns, series: Sequence[Mapping[str, Any]]) -> Any:
    """Test accuracy at the smallest batch less that at the largest, (seeds,)."""
    return runs.values("test_accuracy", **series[0]) - runs.values("test_accuracy", **series[-1])


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    series = dict(_series(runs))
    rows: list[dict[str, Any]] = []
    for name, kinds in series.items():
        for kind in kinds:
            config, result = runs.select(**kind)[0]
            row = {"statistics": name, "batch size": kind["batch_size"], "M": kind["M"], "lr": config["lr"]}
            rows.append({**row, "steps": result["steps"], **losses_of(runs, **kind).columns})
    (_, plain), (name, dial), *_ = series.items()
    of_plain, of_dial = _fall(runs, plain), _fall(runs, dial)
    fall, less = estimate(of_plain), estimate(of_plain - of_dial)
    left = estimate(of_dial)
    first, last = _batches(runs)[0], _batches(runs)[-1]
    summary = (
        f"On {runs.data} ({runs.images} images), from batch {first} to {last} at equal epochs, test accuracy falls by "
        f"{_points(fall)} points with plain BN and by {_points(left)} with {name}: {_points(less)} less. Headline: the "
        f"fall with {name}; {runs.seeds(**plain[0])} paired seeds."
    )
    return finding(_verdict(fall, less), left, 0.0, summary, rows)


def _points(value: Estimate) -> str:
    return f"{100 * value.value:.1f}({100 * value.stderr:.1f})"


def _verdict(fall: Estimate, less: Estimate) -> Verdict:
    if not (fall.in_errors >= 2 and less.in_errors >= 2):
        return "does not hold here"
    return "holds" if less.value >= fall.value / 2 else "holds approximately"


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_points, panels

    runs = TrainingRuns(results)
    axes = [("batch size", "test accuracy (%)"), ("batch size", "loss (nats per image)")]
    figure = panels([["Test accuracy", "Train and test loss"]], [axes], height=460)
    x = [str(batch) for batch in _batches(runs)]
    for index, (name, kinds) in enumerate(_series(runs)):
        accuracy = [estimate(100 * runs.values("test_accuracy", **kind)) for kind in kinds]
        add_points(figure, x, accuracy, name=name, index=index)
        for label, what in (("test", "test_loss"), ("train", "train_loss")):
            losses = [estimate(runs.values(what, **kind)) for kind in kinds]
            add_points(figure, x, losses, name=name, index=index, panel=(1, 2), legend=False)
            if not index:
                at = {"x": 0, "y": losses[0].value, "xanchor": "left"}
                figure.add_annotation(**at, text=label, yshift=14, showarrow=False, row=1, col=2)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=x)
    return figure


CLAIM = Claim(
    id="E2",
    title="The batch size, with the learning rate in proportion",
    statement=(
        "The paper claims that BN's regularisation fades as the batch grows, also with the learning rate in proportion. If "
        "that is why accuracy falls with the batch size, then holding the statistics batch size M keeps it."
    ),
    source="arXiv 1809.00846, experiments on batch size with the learning rate scaled; this library's dial",
    paper=PaperStatement(
        words="BN regularises less as the batch grows, with the learning rate in proportion to it.",
        section="Experiments in CNNs, on batch size",
        known="as remembered",
        differs="that a fixed M keeps the accuracy is our conclusion, and needs this library's dial.",
    ),
    agreement=(
        "Test accuracy at the smallest batch less that at the largest, equal epochs, paired by seed; the smallest finite M "
        "held is judged. Holds: with plain BN it falls by two standard errors or more, and holding M takes away at least "
        "half of the fall, told apart by two standard errors. Holds approximately: it takes away less than half, told apart "
        "likewise. Does not hold: otherwise."
    ),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
