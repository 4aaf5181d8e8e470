"""G1: the learning curves of least squares and ridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Finding, Job, Setup
from bnlens.claims._decomposition import grade, ratios

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# At alpha = 1 least squares has no mean.
_LOADS: Mapping[str, Sequence[float]] = {
    "least squares": (0.5, 0.8, 1.4, 2.0, 4.0),
    "ridge-0.1": (0.5, 0.8, 1.0, 1.4, 2.0, 4.0),
    "ridge-0.25": (0.5, 0.8, 1.0, 1.4, 2.0, 4.0),
}
_ESTIMATORS: Mapping[str, Mapping[str, Any]] = {
    "least squares": {"kind": "least squares"},
    "ridge-0.1": {"kind": "ridge", "decay": 0.1},
    "ridge-0.25": {"kind": "ridge", "decay": common.LABEL_NOISE},
}
_TITLES = {"least squares": "least squares", "ridge-0.1": "ridge, λ = 0.1", "ridge-0.25": "ridge, λ = S = 0.25"}
_HEADLINE = ("ridge-0.1", 1.0)


def _jobs(setup: Setup) -> Sequence[Job]:
    return [
        Job(
            name=name,
            function=common.simulate_curve,
            config={
                "estimator": dict(estimator),
                "alpha": list(_LOADS[name]),
                **common.SCALES[setup.scale],
                "seed": seed,
            },
            cost=2 if setup.scale == "quick" else 60,
        )
        for seed, (name, estimator) in enumerate(_ESTIMATORS.items(), start=400)
    ]


def _rows(results: Mapping[str, dict[str, Any]]) -> dict[tuple[str, float], dict[str, Any]]:
    rows = {}
    for name, estimator in _ESTIMATORS.items():
        limits = common.theory_curve(estimator, _LOADS[name])
        for index, (alpha, limit) in enumerate(zip(_LOADS[name], limits, strict=True)):
            measured, stderr = results[name]["error"][index], results[name]["stderr"][index]
            rows[name, alpha] = {
                "estimator": _TITLES[name],
                "load": alpha,
                "error": measured,
                "error stderr": stderr,
                "closed form": limit,
                **ratios("error", measured, stderr, {"closed form": limit}),
            }
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = _rows(results)
    deviations = [(row["closed form / error"] - 1, row["closed form / error stderr"]) for row in rows.values()]
    inside = sum(abs(deviation) <= 2 * stderr for deviation, stderr in deviations)
    headline = rows[_HEADLINE]
    best = min(rows["ridge-0.1", alpha]["error"] / rows["ridge-0.25", alpha]["error"] for alpha in _LOADS["ridge-0.1"])
    return Finding(
        verdict=grade(deviations),
        measured=headline["error"],
        predicted=headline["closed form"],
        stderr=headline["error stderr"],
        summary=(
            f"{inside} of {len(rows)} simulated errors lie within two standard errors of the closed forms for N → ∞, the "
            f"farthest {max(abs(deviation) for deviation, _ in deviations):.1%} away. Ridge at λ = 0.1 has at least "
            f"{best:.2f} times the error of ridge at λ = S at every load. Headline: ridge at λ = 0.1 and α = 1, where least "
            "squares diverges."
        ),
        rows=list(rows.values()),
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE

    grid = [*np.geomspace(0.3, 0.97, 60).tolist(), None, *np.geomspace(1.03, 5, 60).tolist()]
    smooth = np.geomspace(0.3, 5, 120).tolist()
    lines, points = [], []
    for color, (name, estimator) in zip(PALETTE, _ESTIMATORS.items(), strict=False):
        x = grid if name == "least squares" else smooth
        y = iter(common.theory_curve(estimator, [alpha for alpha in x if alpha is not None]))
        heights = [None if alpha is None else next(y) for alpha in x]  # a gap at alpha = 1, where it diverges
        lines.append({"name": _TITLES[name], "x": x, "y": heights, "color": color})
        result = {"y": results[name]["error"], "stderr": results[name]["stderr"]}
        points.append({"name": f"{_TITLES[name]}, simulated", "x": _LOADS[name], "color": color, **result})
    return common.curve_figure(lines, points, yaxis_range=[0, 1.2])


CLAIM = Claim(
    id="G1",
    title="Learning curves of least squares and ridge",
    statement=(
        "A linear student trained on P = α N noisy labels of a linear teacher has, in the limit of many inputs, a "
        "generalization error in closed form: with least squares it diverges at α = 1, ridge removes the peak, and is best "
        "with λ equal to the variance of the label noise, at every load."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.1, C.2",
    agreement=(
        "Closed forms for N → ∞ against training sets with label noise 0.25 at loads from 0.5 to 4. Holds: within 5% at "
        "every load, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    works=("hoerl1970ridge", "krogh1992generalization", "hastie2022surprises", "advani2020high"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
