"""G4: the replica-symmetric learning curve of a ReLU student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup
from bnlens.claims._decomposition import grade, ratios, span

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_CASES: Mapping[tuple[str, float], Sequence[float]] = {
    ("relu", 1.0): (1.0, 2.0, 4.0),
    ("relu", 0.25): (0.5, 1.0, 2.0, 4.0, 8.0),
    ("relu", 0.05): (0.5, 2.0, 4.0),
    ("linear", 0.25): (1.0, 3.0, 8.0),
}
_SCALES: Mapping[Scale, Mapping[str, int]] = {
    "quick": {"dimension": 200, "runs": 30},
    "full": {"dimension": 400, "runs": 200},
}
_STARTS = ("small", "teacher")
_HEADLINE = ("relu", 0.25, 4.0)


def _name(teacher: str, decay: float, start: str) -> str:
    return f"{teacher}-{decay}-{start}"


def _estimator(teacher: str, decay: float) -> dict[str, Any]:
    return {"kind": "relu", "teacher": teacher, "decay": decay}


def _jobs(setup: Setup) -> Sequence[Job]:
    jobs = []
    for seed, ((teacher, decay), loads) in enumerate(_CASES.items(), start=430):
        for start in _STARTS:
            config = {
                "estimator": _estimator(teacher, decay),
                "alpha": list(loads),
                **_SCALES[setup.scale],
                "seed": seed,
                "start": start,
            }
            cost = sum(loads) / 4 if setup.scale == "quick" else 8 * sum(loads)
            jobs.append(Job(_name(teacher, decay, start), common.simulate_curve, config, cost=cost))
    return jobs


def _rows(results: Mapping[str, dict[str, Any]]) -> dict[tuple[str, float, float], dict[str, Any]]:
    rows = {}
    for (teacher, decay), loads in _CASES.items():
        small, informed = (results[_name(teacher, decay, start)] for start in _STARTS)
        curve = common.theory_curve(_estimator(teacher, decay), loads)
        for index, alpha in enumerate(loads):
            measured, stderr = small["error"][index], small["stderr"][index]
            rows[teacher, decay, alpha] = {
                "teacher": "ReLU" if teacher == "relu" else "linear",
                "decay": decay,
                "load": alpha,
                "error": measured,
                "error stderr": stderr,
                "replica": curve[index],
                **ratios("error", measured, stderr, {"replica": curve[index]}),
                "from the teacher": informed["error"][index],
                "from the teacher stderr": informed["stderr"][index],
            }
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = _rows(results)
    strong = [row["replica / error"] for (_, decay, _), row in rows.items() if decay >= 0.25]
    weak = [row["replica / error"] for (_, decay, _), row in rows.items() if decay < 0.25]
    informed = [row["from the teacher"] / row["error"] for (teacher, _, _), row in rows.items() if teacher == "relu"]
    headline = rows[_HEADLINE]
    return Finding(
        verdict=grade((row["replica / error"] - 1, row["replica / error stderr"]) for row in rows.values()),
        measured=headline["error"],
        predicted=headline["replica"],
        stderr=headline["error stderr"],
        summary=(
            f"Replica-symmetric error over that of descent from small weights: {span(strong)} at λ ≥ 0.25, {span(weak)} at "
            f"λ = 0.05. Descent from the teacher ends in other minima, of {span(informed)} times the error: the loss is not "
            f"convex and replica symmetry is an approximation. Headline: ReLU teacher, λ = {_HEADLINE[1]:g}, "
            f"α = {_HEADLINE[2]:g}."
        ),
        rows=list(rows.values()),
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE

    grid = np.geomspace(0.4, 10, 30).tolist()
    lines, points = [], []
    for color, ((teacher, decay), loads) in zip(PALETTE, _CASES.items(), strict=False):
        title = f"{'ReLU' if teacher == 'relu' else 'linear'} teacher, λ = {decay:g}"
        curve = common.theory_curve(_estimator(teacher, decay), grid)
        lines.append({"name": f"{title}, replica", "x": grid, "y": curve, "color": color})
        found = results[_name(teacher, decay, "small")]
        points.append({"name": title, "x": loads, "y": found["error"], "stderr": found["stderr"], "color": color})
    return common.curve_figure(lines, points, yaxis_type="log")


CLAIM = Claim(
    id="G4",
    title="Learning curve of a ReLU student",
    statement=(
        "The generalization error of a ReLU student trained with gamma decay, that is with ridge, follows the "
        "replica-symmetric theory."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.4",
    agreement=(
        "Replica-symmetric error against descent from small weights on training sets with label noise 0.25, ReLU and linear "
        "teachers, λ from 0.05 to 1, loads 0.5 to 8. Holds: within 5% in every case, two standard errors forgiven; "
        "approximately: within 15%; else it does not."
    ),
    works=("seung1992statistical", "bos1998statistical", "engel2001statistical", "cho2009kernel"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
