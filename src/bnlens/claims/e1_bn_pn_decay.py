"""E1: batch normalization beside population normalization with gamma decay, in a convolutional network over M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnlens.claims import _network_plans as plans
from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._network_runs import NetworkRuns, against, loss_columns
from bnlens.claims._paired import Estimate, estimate, share_of_distance
from bnlens.errors import UsageError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]

_PENALTIES = {"gamma-decay": "PN + gamma decay", "curvature": "PN + curvature penalty"}
_JUDGED = (("train loss", "train_loss"), ("test loss", "test_loss"))
_PN: Mapping[str, Any] = {"M": plans.POPULATION}


def _parameters(scale: Scale, data: Path | None) -> Mapping[str, Any]:
    sizes = {"digits": [4, 16, 64, "inf"], "quick": [8, 64, "inf"], "full": [8, 16, 64, "inf"]}
    return plans.parameters(scale, data, M=sizes, penalties=["gamma-decay", "curvature"])


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E1", setup)
    for name in setup.parameters["penalties"]:
        if name not in _PENALTIES:
            raise UsageError(f"E1: there is no penalty {name!r}; use one of {', '.join(_PENALTIES)}")
    sizes = plans.finite_sizes("E1", setup.parameters["M"])
    if not sizes:
        raise UsageError("E1: parameter 'M' has no finite batch size to compare with; add one, such as 16")
    kinds: list[dict[str, Any]] = [{}, *({"M": M} for M in sizes)]
    kinds += [{"M": M, "regulariser": name} for name in setup.parameters["penalties"] for M in sizes]
    return [plans.network_job(setup, seed, **kind) for kind in kinds for seed in plans.seeds_of(setup)]


def _methods(runs: NetworkRuns) -> list[tuple[str, str | None]]:
    """Name and penalty of what stands for BN over M, BN itself first."""
    present = runs.distinct("regulariser")
    return [("BN", None), *((label, name) for name, label in _PENALTIES.items() if name in present)]


def _sizes(runs: NetworkRuns) -> list[int]:
    return [M for M in runs.distinct("statistics_batch_size") if plans.POPULATION != M]


def _rows(runs: NetworkRuns) -> list[dict[str, Any]]:
    """One row per way of normalising; strength where BN differs from PN by two standard errors."""
    rows: list[dict[str, Any]] = [{"method": "PN", **loss_columns(runs, **_PN)}]
    for M in _sizes(runs):
        for label, penalty in _methods(runs):
            kind = {"M": M, "regulariser": penalty}
            row: dict[str, Any] = {"method": label, "M": M, **loss_columns(runs, **kind)}
            for loss, what in _JUDGED:
                row |= against(runs, what, kind, _PN).columns(f"{loss} less PN's")
                bn = runs.values(what, M=M) - runs.values(what, **_PN)
                if penalty is not None:
                    row |= against(runs, what, kind, {"M": M}).columns(f"{loss} less BN's")
                    if abs(estimate(bn).in_errors) >= 2:
                        part = runs.values(what, **kind) - runs.values(what, **_PN)
                        row |= share_of_distance(part, bn).columns(f"{loss}, strength")
            row["rms gamma"] = ", ".join(f"{gamma:.2f}" for gamma in runs.values("gamma", **kind).mean(0))
            rows.append(row)
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = NetworkRuns(results)
    rows = _rows(runs)
    label = _methods(runs)[1][0]
    judged = [row for row in rows if row["method"] == label]
    strengths = {
        (row["M"], loss): Estimate(row[f"{loss}, strength"], row[f"{loss}, strength stderr"])
        for row in judged
        for loss, _ in _JUDGED
        if f"{loss}, strength" in row
    }
    verdict = _verdict(list(strengths.values()))
    headline = next(iter(strengths.values()), Estimate(float("nan"), float("nan")))
    smallest = _sizes(runs)[0]
    told = ", ".join(
        f"{value.value:.2f}({value.stderr:.2f}) in {loss} at M = {M}" for (M, loss), value in strengths.items()
    )
    losses = {row["method"]: row for row in rows if row.get("M", smallest) == smallest}
    at_smallest = "; ".join(
        f"{name} {row['train loss']:.3f} / {row['test loss']:.3f} / {100 * row['test accuracy']:.1f}%"
        for name, row in losses.items()
    )
    return Finding(
        verdict=verdict,
        measured=headline.value,
        predicted=1.0,
        stderr=headline.stderr,
        summary=(
            f"On {runs.data} ({runs.images} images), train loss / test loss / test accuracy at M = {smallest}: {at_smallest}. "
            f"Strength of {label}, 1 being BN's: {told or 'BN is told apart from PN nowhere'}; {runs.seeds(**_PN)} paired "
            "seeds."
        ),
        rows=rows,
        corrects_paper=None
        if verdict == "holds" or not strengths or label != _PENALTIES["gamma-decay"]
        else (
            "In a convolutional network, population normalization with gamma decay, zeta from the formula, has a strength of "
            f"its own: {told}, where that of BN over M is 1."
        ),
    )


def _verdict(strengths: Sequence[Estimate]) -> Verdict:
    if not strengths:
        return "does not hold here"
    off = max(abs(strength.value - 1) - strength.stderr for strength in strengths)
    if off <= 0.25:
        return "holds"
    return "holds approximately" if off <= 0.5 else "does not hold here"


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.claims._curves import add_band, add_points, panels

    runs = NetworkRuns(results)
    sizes = _sizes(runs)
    smallest = sizes[0]
    nats = "nats per image"
    size = "statistics batch size M"
    figure = panels(
        [[f"Training, M = {smallest}", f"Test, M = {smallest}"], ["Train loss over M", "Test loss over M"]],
        [
            [("epoch", f"loss of the steps ({nats})"), ("epoch", f"test loss ({nats})")],
            [(size, f"train loss ({nats})"), (size, f"test loss ({nats})")],
        ],
        height=760,
    )
    kinds = [(label, {"M": smallest, "regulariser": penalty}) for label, penalty in _methods(runs)] + [("PN", {**_PN})]
    for index, (label, kind) in enumerate(kinds):
        for column, what in ((1, "steps_loss"), (2, "test_loss")):
            curves = runs.curves(what, **kind)
            epochs = np.arange(1, curves.shape[1] + 1)
            add_band(figure, epochs, curves, name=label, index=index, panel=(1, column), legend=column == 1)
        for column, (_, what) in enumerate(_JUDGED, start=1):
            if label == "PN":
                x, values = ["inf"], [estimate(runs.values(what, **kind))]
            else:
                x = [str(M) for M in sizes]
                values = [estimate(runs.values(what, **{**kind, "M": M})) for M in sizes]
            add_points(figure, x, values, name=label, index=index, panel=(2, column), legend=False)
    order = [*(str(M) for M in sizes), "inf"]
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=order, row=2)
    return figure


CLAIM = Claim(
    id="E1",
    title="BN, PN and gamma decay in a convolutional network",
    statement=(
        "The paper claims that in convolutional networks, too, BN over M samples acts as population normalization with gamma "
        "decay: trained with either, a network has the same train and test loss. Beside it stands this library's curvature "
        "penalty."
    ),
    source="arXiv 1809.00846, experiments on BN as PN with gamma decay; theory sheet D and E",
    agreement=(
        "Strength is the share of the distance from PN to BN over M that PN with gamma decay covers, in train loss and in test "
        "loss, at each M where BN differs from PN by two standard errors in that loss. Holds: every strength within 0.25 of 1, "
        "one standard error forgiven; approximately: within 0.5. Does not hold: otherwise, or where BN differs from PN nowhere."
    ),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
