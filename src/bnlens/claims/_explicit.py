"""What the claims on explicit regularisers (N3, N4) share: population layers with a penalty beside BN over M samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Job, Setup, Verdict
from bnlens.claims._paired import Estimate, Runs, check_full_scale, estimate, share_of_distance
from bnlens.claims._training import POPULATION, job_of_run, recipe_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "AGREEMENT",
    "BATCH",
    "PARAMETERS",
    "figure_of",
    "jobs_of",
    "rows_of",
    "strength_of",
    "target_of",
    "verdict_of",
]

BATCH = 256
_DIGITS, _CIFAR = 4, 16  # the M to regularise as
PARAMETERS = {"seeds": 3}
_LOSSES = (("train loss", "train_loss"), ("test loss", "test_loss"))


def jobs_of(claim: str, regulariser: str, factors: Sequence[int], setup: Setup) -> Sequence[Job]:
    """BN over M, population layers without a penalty, and with one at M times each of the factors."""
    check_full_scale(claim, setup.scale, setup.data)
    recipe = recipe_of(setup.data)
    M = _DIGITS if setup.data is None else _CIFAR
    kinds: list[tuple[float | str, str | None]] = [(M, None), (POPULATION, None)]
    kinds += [(factor * M, regulariser) for factor in factors]
    return [
        job_of_run(recipe, size, BATCH, seed, kind) for size, kind in kinds for seed in range(setup.parameters["seeds"])
    ]


def target_of(runs: Runs) -> int:
    """M, the batch size that the penalty stands for."""
    return _CIFAR if runs.seeds(_CIFAR, BATCH) else _DIGITS


def rows_of(runs: Runs, regulariser: str, factors: Sequence[int], label: str) -> list[dict[str, Any]]:
    """One row per way of regularising.

    ``"X, strength"`` is the share of the distance in X from population layers to BN over M that it covers: 1 is BN's.
    """
    M = target_of(runs)
    kinds: list[tuple[str, float | str, str | None]] = [(f"BN, M = {M}", M, None), ("PN", POPULATION, None)]
    kinds += [(f"PN + {label}, M = {factor * M}", factor * M, regulariser) for factor in factors]
    rows = []
    for name, size, kind in kinds:
        row: dict[str, Any] = {"regularised by": name}
        for loss, what in _LOSSES:
            values, bn, pn = (runs.values(what, *of) for of in ((size, BATCH, kind), (M, BATCH), (POPULATION, BATCH)))
            row |= estimate(values).columns(loss)
            if kind is not None:
                row |= estimate(values - bn).columns(f"{loss} less BN's")
                row |= share_of_distance(values - pn, bn - pn).columns(f"{loss}, strength")
        row["rms gamma"] = ", ".join(f"{gamma:.2f}" for gamma in runs.values("gamma", size, BATCH, kind).mean(0))
        rows.append(row)
    return rows


def strength_of(row: Mapping[str, Any], loss: str) -> Estimate:
    """The strength in a loss, 1 being BN's."""
    return Estimate(row[f"{loss}, strength"], row[f"{loss}, strength stderr"])


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """Grade a row by its strength in both losses; one standard error is forgiven."""
    off = max(abs(strength.value - 1) - strength.stderr for strength in (strength_of(row, loss) for loss, _ in _LOSSES))
    if off <= 0.25:
        return "holds"
    return "holds approximately" if off <= 0.5 else "does not hold here"


AGREEMENT = (
    "Strength is the share of the distance from population layers to BN over M that a penalty covers, in train loss and in "
    "test loss; 1 is BN's. Holds: both within 0.25 of 1, one standard error forgiven; approximately: within 0.5."
)


def figure_of(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Test loss over train loss, one point per way of regularising."""
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(x="train loss (nats per image)", y="test loss (nats per image)")
    symbols = ("circle", "square", "diamond", "diamond-open")
    for row, color, symbol in zip(rows, PALETTE, symbols, strict=False):
        figure.add_scatter(
            name=row["regularised by"],
            x=[row["train loss"]],
            y=[row["test loss"]],
            error_x={"array": [row["train loss stderr"]]},
            error_y={"array": [row["test loss stderr"]]},
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 11},
        )
    return figure
