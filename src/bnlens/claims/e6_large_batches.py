"""E6: batch normalization at a large batch, and what brings its regularisation back: dropout, or a smaller M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._losses import MEASURES, Kind, difference, losses_of
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError

__all__ = ["CLAIM"]


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
    kinds: list[dict[str, Any]] = [{"M": large, "batch_size": large}]
    kinds += [{"M": M, "batch_size": large} for M in sizes]
    kinds += [{"M": large, "batch_size": large, "dropout": rate} for rate in dict.fromkeys(given["dropout"])]
    kinds.append({"M": small, "batch_size": small})
    return [plans.network_job(setup, seed, **kind) for kind in kinds for seed in plans.seeds_of(setup)]


class _Trained(NamedTuple):
    """A kind of run, what the tables call it, and its role: ``"plain"``, ``"smaller"`` (M), ``"dropout"`` or ``"small"``."""

    role: str
    label: str
    kind: Kind


def _trained(runs: TrainingRuns) -> list[_Trained]:
    """Return the kinds of run, as given: plain BN, smaller M, dropout, a small batch."""
    large = max(runs.distinct("batch_size"))
    found: dict[str, _Trained] = {}
    for config, _ in runs:
        M, batch, rate = config["statistics_batch_size"], config["batch_size"], config["dropout"]
        if batch < large:
            role, label = "small", f"small batch, {batch}"
        elif rate:
            role, label = "dropout", f"dropout {rate:g}"
        else:
            role, label = ("plain", "plain BN") if large == M else ("smaller", f"M = {M}")
        found.setdefault(label, _Trained(role, label, {"M": M, "batch_size": batch, "dropout": rate}))
    return list(found.values())


def _excess(runs: TrainingRuns, kind: Kind) -> Any:
    """Return test loss less train loss, (seeds,)."""
    return runs.values("test_loss", **kind) - runs.values("train_loss", **kind)


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    trained = _trained(runs)
    losses = {one.label: losses_of(runs, **one.kind) for one in trained}
    first = {one.role: one for one in reversed(trained)}
    plain, cures, small = first["plain"].kind, (first["smaller"], first["dropout"]), first["small"]
    lost = estimate(_excess(runs, plain) - _excess(runs, cures[0].kind))
    gains = [difference(runs, "test_loss", plain, cure.kind) for cure in cures]
    rows = []
    for _, label, kind in trained:
        row = {"at the large batch": label, "batch size": kind["batch_size"], "M": kind["M"]}
        row |= {"lr": runs.select(**kind)[0].config["lr"], **losses[label].columns}
        if kind is not plain:
            for what, name in MEASURES.items():
                row |= difference(runs, what, kind, plain).columns(f"{name} less plain BN's")
        rows.append(row)
    told = "; ".join(
        f"{label} {found.train_loss.value:.3f} / {found.test_loss.value:.3f}" for label, found in losses.items()
    )
    smaller, dropout = (cure.label for cure in cures)
    summary = (
        f"On {runs.data} ({runs.images} images) at batch {plain['batch_size']}, train / test loss: {told}. Plain BN's "
        f"excess of test over train loss is {lost.value:+.3f}({lost.stderr:.3f}) against {smaller}'s; test loss falls by "
        f"{gains[0].value:+.3f}({gains[0].stderr:.3f}) with {smaller} and {gains[1].value:+.3f}({gains[1].stderr:.3f}) "
        f"with {dropout}. Headline: the fall with {smaller}, beside that with {dropout}; {runs.seeds(**plain)} paired "
        f"seeds. The {small.label} takes {plain['batch_size'] // small.kind['batch_size']} times as many steps."
    )
    return finding(_verdict(lost, gains), gains[0], gains[1].value, summary, rows)


def _verdict(lost: Estimate, gains: Sequence[Estimate]) -> Verdict:
    cures = [gain.in_errors >= 2 for gain in gains]
    if lost.in_errors < 2 or not any(cures):
        return "does not hold here"
    return "holds" if all(cures) else "holds approximately"


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, add_points, panels

    runs = TrainingRuns(results)
    loss = "test loss (nats per image)"
    axes = [("epoch", loss), ("test less train loss (nats per image)", loss)]
    figure = panels([["Test loss in training", "At the end"]], [axes], height=480)
    for index, (_, label, kind) in enumerate(_trained(runs)):
        add_band(figure, runs.curves("test_loss", **kind), name=label, index=index)
        point = [estimate(_excess(runs, kind))], [estimate(runs.values("test_loss", **kind))]
        add_points(figure, *point, name=label, index=index, panel=(1, 2), legend=False, mode="markers")
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
    paper=PaperStatement(
        words="At M = 1024 BN regularises little, and dropout of 0.1 behind it helps.",
        section="Experiments in CNNs, on large batches",
        known="as remembered",
        differs="that a smaller M restores what is lost is our conclusion, and needs this library's dial.",
    ),
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
