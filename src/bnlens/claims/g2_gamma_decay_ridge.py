"""G2: weight normalization with gamma decay is ridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Finding, Job, Setup, Verdict

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LOADS = (0.5, 1.0, 1.5, 4.0)
_ZETAS = (0.01, 0.1)
_EQUAL, _CLOSE = 1e-6, 1e-2
_HEADLINE = (0.1, 1.0)


def compare(*, zeta: float, alpha: Sequence[float], dimension: int, runs: int, seed: int) -> dict[str, Any]:
    """Job: gamma decay descended in (w, gamma) beside ridge, on the same training sets.

    Returns per load the largest distance |v - v_ridge| / |v_ridge| over the runs, and the mean error with its standard
    error.
    """
    import numpy as np

    from bnlens.simulate.generalization import draw_training_set, fit_student
    from bnlens.theory.generalization import gamma_decay_to_ridge

    result: dict[str, Any] = {"distance": [], "error": [], "stderr": []}
    for load in alpha:
        decayed, ridge = (
            common.make_estimator("gamma decay", zeta=zeta),
            common.make_estimator("ridge", decay=gamma_decay_to_ridge(zeta, load)),
        )
        distances, errors = [], []
        for run in range(runs):
            P = round(load * dimension)
            generator = np.random.default_rng([seed, P, run])
            data = draw_training_set(samples=P, dimension=dimension, label_noise=common.LABEL_NOISE, seed=generator)
            student, target = fit_student(decayed, data, seed=generator), fit_student(ridge, data)
            length = np.linalg.norm(target.weights)
            distances.append(float(np.linalg.norm(student.weights - target.weights) / length))
            errors.append(student.error(data))
        result["distance"].append(max(distances))
        result["error"].append(float(np.mean(errors)))
        result["stderr"].append(float(np.std(errors, ddof=1) / np.sqrt(runs)))
    return result


def _jobs(setup: Setup) -> Sequence[Job]:
    return [
        Job(
            name=f"zeta-{zeta}",
            function=compare,
            config={"zeta": zeta, "alpha": list(_LOADS), **common.SCALES[setup.scale], "seed": seed},
            cost=5 if setup.scale == "quick" else 120,
        )
        for seed, zeta in enumerate(_ZETAS, start=410)
    ]


def _rows(results: Mapping[str, dict[str, Any]]) -> dict[tuple[float, float], dict[str, Any]]:
    rows = {}
    for zeta in _ZETAS:
        result = results[f"zeta-{zeta}"]
        limits = common.theory_curve({"kind": "gamma decay", "zeta": zeta}, _LOADS)
        for index, alpha in enumerate(_LOADS):
            rows[zeta, alpha] = {
                "zeta": zeta,
                "load": alpha,
                "ridge λ = 2 α ζ": 2 * alpha * zeta,
                "distance to ridge": result["distance"][index],
                "error": result["error"][index],
                "error stderr": result["stderr"][index],
                "curve of ridge": limits[index],
            }
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = _rows(results)
    farthest = max(row["distance to ridge"] for row in rows.values())
    verdict: Verdict = (
        "holds" if farthest <= _EQUAL else "holds approximately" if farthest <= _CLOSE else "does not hold here"
    )
    headline = rows[_HEADLINE]
    return Finding(
        verdict=verdict,
        measured=headline["error"],
        predicted=headline["curve of ridge"],
        stderr=headline["error stderr"],
        summary=(
            f"Descended in its own parameters (w, gamma), gamma decay ends at most {farthest:.0e} of the length of the ridge "
            f"solution away from it, on every training set at every load. Headline: its error at ζ = {_HEADLINE[0]:g} and "
            f"α = {_HEADLINE[1]:g} against the curve of ridge."
        ),
        rows=list(rows.values()),
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE

    grid = np.geomspace(0.3, 5, 120).tolist()
    lines, points = [], []
    for color, zeta in zip(PALETTE, _ZETAS, strict=False):
        curve = common.theory_curve({"kind": "gamma decay", "zeta": zeta}, grid)
        result = {"y": results[f"zeta-{zeta}"]["error"], "stderr": results[f"zeta-{zeta}"]["stderr"]}
        lines.append({"name": f"ridge, λ = 2 α {zeta}", "x": grid, "y": curve, "color": color})
        points.append({"name": f"gamma decay, ζ = {zeta}", "x": _LOADS, "color": color, **result})
    return common.curve_figure(lines, points)


CLAIM = Claim(
    id="G2",
    title="Gamma decay is ridge",
    statement=(
        "A linear student with weight normalization and gamma decay ζγ² added to the mean loss is ridge regression with "
        "λ = 2αζ for the sum over samples."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.2",
    agreement=(
        "Weights descended in (w, gamma) against ridge on the same training sets, as a fraction of the length of the ridge "
        "solution. Holds: at most 1e-6 apart on every training set; approximately: 1e-2; else it does not."
    ),
    works=("salimans2016weight", "hoerl1970ridge"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
