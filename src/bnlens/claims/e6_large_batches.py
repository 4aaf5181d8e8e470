"""E6: batch normalization at a large batch, and what brings its regularisation back: dropout, or a smaller M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnlens.claims import _network_plans as plans
from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._network_runs import LOSSES, NetworkRuns, against, loss_columns
from bnlens.claims._paired import Estimate, estimate
from bnlens.errors import UsageError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]

Kind = Mapping[str, Any]


def _parameters(scale: Scale, data: Path | None) -> Mapping[str, Any]:
    return plans.parameters(
        scale,
        data,
        epochs={"digits": 60, "quick": 10, "full": 20},
        batch_size={"digits": 32, "quick": 64, "full": 64},
        large_batch={"digits": 512, "quick": 1024, "full": 1024},
        M={"digits": [16, 4], "quick": [64, 16], "full": [64, 16]},
        dropout=[0.2, 0.5],
    )


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E6", setup)
    given = setup.parameters
    large, small = given["large_batch"], given["batch_size"]
    sizes = [M for M in dict.fromkeys(given["M"]) if M != plans.POPULATION and large > M]
    if small >= large:
        raise UsageError(f"E6: parameter 'batch_size', {small}, must be below 'large_batch', {large}")
    if not sizes:
        raise UsageError(f"E6: parameter 'M' needs a size below the large batch of {large}, got {given['M']}")
    for rate in given["dropout"]:
        if not 0 < rate < 1:
            raise UsageError(f"E6: parameter 'dropout' must be above 0 and below 1, got {rate}")
    kinds: list[dict[str, Any]] = [{"M": large, "batch_size": large}]
    kinds += [{"M": M, "batch_size": large} for M in sizes]
    kinds += [{"M": large, "batch_size": large, "dropout": rate} for rate in dict.fromkeys(given["dropout"])]
    kinds.append({"M": small, "batch_size": small})
    return [plans.network_job(setup, seed, **kind) for kind in kinds for seed in plans.seeds_of(setup)]


def _kinds(results: Mapping[str, dict[str, Any]]) -> dict[str, Kind]:
    """Label of each kind to what selects its runs: plain, smaller M, dropout, each in the order given, small batch."""
    configs = [result["config"] for result in results.values()]
    large = max(config["batch_size"] for config in configs)
    labels: dict[str, Kind] = {}
    for config in configs:
        M, batch, rate = config["statistics_batch_size"], config["batch_size"], config["dropout"]
        if batch < large:
            label = f"small batch, {batch}"
        elif rate:
            label = f"dropout {rate:g}"
        else:
            label = "plain BN" if large == M else f"M = {M}"
        labels.setdefault(label, {"M": M, "batch_size": batch, "dropout": rate})
    return labels


def _first(kinds: Mapping[str, Kind], start: str) -> str:
    return next(label for label in kinds if label.startswith(start))


def _excess(runs: NetworkRuns, kind: Kind) -> Any:
    """Test loss less train loss, (seeds,)."""
    return runs.values("test_loss", **kind) - runs.values("train_loss", **kind)


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs, kinds = NetworkRuns(results), _kinds(results)
    plain = kinds["plain BN"]
    rows = []
    for label, kind in kinds.items():
        row = {"at the large batch": label, "batch size": kind["batch_size"], "M": kind["M"]}
        row |= {"lr": runs.select(**kind)[0]["config"]["lr"], **loss_columns(runs, **kind)}
        if kind is not plain:
            for name, what in LOSSES:
                row |= against(runs, what, kind, plain).columns(f"{name} less plain BN's")
        rows.append(row)
    smaller, dropout, small = (_first(kinds, start) for start in ("M = ", "dropout", "small"))
    lost = estimate(_excess(runs, plain) - _excess(runs, kinds[smaller]))
    gains = [against(runs, "test_loss", plain, kinds[label]) for label in (smaller, dropout)]
    told = "; ".join(
        f"{label} {row['train loss']:.3f} / {row['test loss']:.3f}" for label, row in zip(kinds, rows, strict=True)
    )
    return Finding(
        verdict=_verdict(lost, gains),
        measured=gains[0].value,
        predicted=gains[1].value,
        stderr=gains[0].stderr,
        summary=(
            f"On {runs.data} ({runs.images} images) at batch {plain['batch_size']}, train / test loss: {told}. Plain BN's "
            f"excess of test over train loss is {lost.value:+.3f}({lost.stderr:.3f}) against {smaller}'s; test loss falls by "
            f"{gains[0].value:+.3f}({gains[0].stderr:.3f}) with {smaller} and {gains[1].value:+.3f}({gains[1].stderr:.3f}) "
            f"with {dropout}. Headline: the fall with {smaller}, beside that with {dropout}; {runs.seeds(**plain)} paired "
            f"seeds. The {small} takes {plain['batch_size'] // kinds[small]['batch_size']} times as many steps."
        ),
        rows=rows,
    )


def _verdict(lost: Estimate, gains: Sequence[Estimate]) -> Verdict:
    cures = [gain.in_errors >= 2 for gain in gains]
    if lost.in_errors < 2 or not any(cures):
        return "does not hold here"
    return "holds" if all(cures) else "holds approximately"


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.claims._curves import add_band, add_points, panels

    runs, kinds = NetworkRuns(results), _kinds(results)
    figure = panels(
        [["Test loss in training", "At the end"]],
        [
            [
                ("epoch", "test loss (nats per image)"),
                ("test less train loss (nats per image)", "test loss (nats per image)"),
            ]
        ],
        height=480,
    )
    for index, (label, kind) in enumerate(kinds.items()):
        curves = runs.curves("test_loss", **kind)
        add_band(figure, np.arange(1, curves.shape[1] + 1), curves, name=label, index=index)
        excess = estimate(_excess(runs, kind))
        point = [estimate(runs.values("test_loss", **kind))]
        add_points(figure, [excess.value], point, name=label, index=index, panel=(1, 2), legend=False, lines=False)
        figure.data[-1].error_x = {"array": [excess.stderr]}
    figure.update_yaxes(type="log", row=1, col=1)
    return figure


CLAIM = Claim(
    id="E6",
    title="Large batches",
    statement=(
        "The paper claims that BN loses its regularisation at large batches, and that an explicit regulariser such as dropout "
        "makes up for it. If noise of the statistics is what is missing, a smaller statistics batch size does, too."
    ),
    source="arXiv 1809.00846, experiments on large batches; this library's dial",
    agreement=(
        "At the large batch, paired by seed; of the smaller M and of the dropout rates the first given is judged. Holds: the "
        "excess of test over train loss is larger with plain BN than with the smaller M by two standard errors, and both the "
        "smaller M and dropout lower the test loss by two standard errors. Holds approximately: so does one of them. Does not "
        "hold: otherwise."
    ),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
