"""E7: whether the gap at fixed weights predicts what training with batch statistics does to the test loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._losses import losses_of, sizes_of
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError

_KINDS = {"exact": "first order", "fisher": "Fisher", "two_term": "two-term"}
_DRAWS = 2000
_parameters = partial(
    plans.parameters,
    M={"digits": [4, 16, "inf"], "quick": [8, 64, "inf"], "full": [8, 64, "inf"]},
    other_nets=["mlp", "resnet"],
    other_samples={"digits": [500], "quick": [1000], "full": [2000]},
)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E7", setup)
    given = setup.parameters
    sizes = plans.finite_sizes(given["M"])
    nets = list(dict.fromkeys([given["net"], *given["other_nets"]]))
    counts = list(dict.fromkeys([given["samples"], *given["other_samples"]]))
    if not sizes or len(nets) * len(counts) < 3:
        raise UsageError(
            "E7: a correlation needs a finite 'M' and at least three pairs of a net ('net', 'other_nets') and a number of "
            f"images ('samples', 'other_samples'), got {len(sizes)} and {len(nets) * len(counts)}"
        )
    if min(counts) < given["batch_size"]:
        raise UsageError(
            f"E7: {min(counts)} training images do not fill a batch of {given['batch_size']}; raise parameter 'other_samples'"
        )
    jobs = []
    for net in nets:
        for count in counts:
            # as many images seen in all
            epochs = max(1, round(given["epochs"] * given["samples"] / count))
            changes = {"net": net, "samples": count, "epochs": epochs}
            kinds: list[int | str] = [*sizes, plans.POPULATION]
            jobs += [plans.network_job(setup, seed, M=M, **changes) for M in kinds for seed in plans.seeds_of(setup)]
    return jobs


@dataclass(frozen=True)
class _Point:
    """One net, number of images and M, by seed.

    Attributes:
        net: its name.
        samples: training images.
        M: statistics batch size.
        predicted: gap predicted at M from the PN net's weights, by kind of prediction.
        train_rise: train loss when trained at M less that of PN.
        test_fall: test loss of PN less that when trained at M.
    """

    net: str
    samples: int
    M: int
    predicted: Mapping[str, NDArray[np.float64]]
    train_rise: NDArray[np.float64]
    test_fall: NDArray[np.float64]


def _points(runs: TrainingRuns) -> list[_Point]:
    points = []
    for net in runs.distinct("net"):
        for samples in runs.distinct("samples", net=net):
            here = {"net": net, "samples": samples}
            population = runs.select(M=plans.POPULATION, **here)
            coefficients = {kind: np.array([run.result["gap"][kind] for run in population]) for kind in _KINDS}
            for M in sizes_of(runs):
                train, test = (
                    runs.values(what, M=M, **here) - runs.values(what, M=plans.POPULATION, **here)
                    for what in ("train_loss", "test_loss")
                )
                predicted = {kind: values / M for kind, values in coefficients.items()}
                points.append(_Point(net, samples, M, predicted, train, -test))
    return points


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation; NaN where one does not vary.

    >>> round(correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 7.0])), 3)
    0.993
    """
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


@dataclass(frozen=True)
class _Correlation:
    """A correlation with its bootstrap: standard error and the interval from 2.5 to 97.5%."""

    value: float
    stderr: float
    low: float
    high: float


def _correlations(points: Sequence[_Point], kind: str, outcome: str) -> tuple[_Correlation, _Correlation]:
    """Over all points, and between nets at one M, mean over M; the bootstrap draws pairs of net and number of images."""
    groups: dict[tuple[str, int], list[_Point]] = {}
    for point in points:
        groups.setdefault((point.net, point.samples), []).append(point)
    # (pairs, sizes), the sizes in one order in each
    x = np.array([[point.predicted[kind].mean() for point in group] for group in groups.values()])
    y = np.array([[getattr(point, outcome).mean() for point in group] for group in groups.values()])

    def both(rows: NDArray[np.int64]) -> tuple[float, float]:
        u, v = x[rows], y[rows]
        return correlation(u.ravel(), v.ravel()), _mean([correlation(a, b) for a, b in zip(u.T, v.T, strict=True)])

    rng = np.random.default_rng(0)
    value = both(np.arange(len(x)))
    drawn = np.array([both(rng.integers(len(x), size=len(x))) for _ in range(_DRAWS)])
    overall, within = (_with_interval(value[at], drawn[:, at]) for at in (0, 1))
    return overall, within


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else float("nan")


def _with_interval(value: float, drawn: NDArray[np.float64]) -> _Correlation:
    kept = drawn[np.isfinite(drawn)]
    if len(kept) < 2:
        return _Correlation(value, float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(kept, [0.025, 0.975])
    return _Correlation(value, float(kept.std(ddof=1)), float(low), float(high))


def _rows(runs: TrainingRuns, points: Sequence[_Point]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for point in points:
        row: dict[str, Any] = {"net": point.net, "images": point.samples, "M": point.M}
        for kind in _KINDS:
            row |= estimate(point.predicted[kind]).columns(f"predicted gap, {_KINDS[kind]}")
        row |= estimate(point.train_rise).columns("rise of train loss")
        row |= estimate(point.test_fall).columns("fall of test loss")
        rows.append(row | losses_of(runs, net=point.net, samples=point.samples, M=point.M).columns)
    for kind in _KINDS:
        for name, outcome in (("fall of test loss", "test_fall"), ("rise of train loss", "train_rise")):
            for where, found in zip(("all points", "at one M"), _correlations(points, kind, outcome), strict=True):
                row = {"net": f"correlation of predicted gap, {kind.replace('_', '-')}, with {name}, {where}"}
                row |= {"correlation": found.value, "correlation stderr": found.stderr}
                rows.append({**row, "2.5%": found.low, "97.5%": found.high})
    return rows


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    points = _points(runs)
    overall, within = _correlations(points, "exact", "test_fall")
    train, _ = _correlations(points, "exact", "train_rise")
    ratio = [estimate(point.train_rise / point.predicted["exact"]).value for point in points]
    pairs = len({(point.net, point.samples) for point in points})
    lower = sum(estimate(point.test_fall).in_errors >= 2 for point in points)
    summary = (
        f"On {runs.data}, {pairs} pairs of net and number of images at {len(points) // pairs} M: the gap predicted at "
        f"fixed weights of PN nets correlates with the fall of test loss from training at M by {_told(overall)}, between "
        f"nets at one M by {_told(within)}, and with the rise of train loss by {_told(train)}. The test loss falls by "
        f"two standard errors at {lower} of {len(points)} points. The rise of train loss is {min(ratio):.1f} to "
        f"{max(ratio):.1f} times the predicted gap. Intervals draw pairs anew; points of a pair are not independent, and "
        "M alone moves both."
    )
    headline = Estimate(overall.value, overall.stderr)
    return finding(_verdict(overall, within), headline, 1.0, summary, _rows(runs, points))


def _told(found: _Correlation) -> str:
    return f"{found.value:.2f} (95%: {found.low:.2f} to {found.high:.2f})"


def _verdict(overall: _Correlation, within: _Correlation) -> Verdict:
    if overall.value >= 0.7 and overall.low > 0 and within.low > 0:
        return "holds"
    return "holds approximately" if overall.low > 0 else "does not hold here"


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import SYMBOLS, add_points, panels

    runs = TrainingRuns(results)
    points = _points(runs)
    x_title = "predicted gap at fixed weights (nats per image)"
    axes = [(x_title, "fall from PN to M (nats per image)"), (x_title, "rise from PN to M (nats per image)")]
    figure = panels([["Test loss", "Train loss"]], [axes], height=480)
    pairs = list(dict.fromkeys((point.net, point.samples) for point in points))
    nets = list(dict.fromkeys(net for net, _ in pairs))
    counts = sorted({samples for _, samples in pairs})
    for net, samples in pairs:
        own = [point for point in points if (point.net, point.samples) == (net, samples)]
        gaps = [estimate(point.predicted["exact"]) for point in own]
        look: dict[str, Any] = {"name": f"{net}, {samples:,} images", "index": nets.index(net)}
        look["symbol"] = SYMBOLS[counts.index(samples) % len(SYMBOLS)] + ("" if samples == counts[-1] else "-open")
        look["text"] = [f"M = {point.M}" for point in own]
        for column, outcome in ((1, "test_fall"), (2, "train_rise")):
            outcomes = [estimate(getattr(point, outcome)) for point in own]
            add_points(figure, gaps, outcomes, panel=(1, column), legend=column == 1, **look)
    for column in (1, 2):
        figure.add_hline(y=0, line={"width": 1, "dash": "dot", "color": "#8a8f98"}, row=1, col=column)
    figure.update_xaxes(type="log")
    return figure


CLAIM = Claim(
    id="E7",
    title="Whether the gap at fixed weights predicts generalization",
    statement=(
        "The gap of M, predicted at the fixed weights of a PN net, says how much training with batches of M lowers the test "
        "loss: nets and M of a larger gap gain more."
    ),
    source="this library's report used as a predictor; follows arXiv 1809.00846, which reads the gap as BN's regularisation",
    agreement=(
        "Pearson's correlation over pairs of net and number of images, and M, of the predicted gap (first-order law) with "
        "the fall of test loss from PN to training at M, with a bootstrap over pairs. Holds: at least 0.7, its 95% interval "
        "above 0, and so that between nets at one M. Holds approximately: the interval over all points is above 0. Does not "
        "hold: otherwise."
    ),
    quantity="correlation of the predicted gap with the fall of the test loss",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
