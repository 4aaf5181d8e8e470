"""G4: the replica-symmetric learning curve of a ReLU student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup
from bnlens.claims._estimate import finding, grade, span
from bnlens.claims._results import Results
from bnlens.experiments.generalization import simulate_curve

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
_TITLES = {"relu": "ReLU", "linear": "linear"}
_HEADLINE = ("relu", 0.25, 4.0)


def _estimator(teacher: str, decay: float) -> dict[str, Any]:
    return {"kind": "relu", "teacher": teacher, "decay": decay}


def _jobs(setup: Setup) -> Sequence[Job]:
    jobs = []
    for seed, ((teacher, decay), loads) in enumerate(_CASES.items(), start=430):
        for start in _STARTS:
            config: dict[str, Any] = {"estimator": _estimator(teacher, decay), "alpha": list(loads)}
            config |= {**_SCALES[setup.scale], "seed": seed, "start": start}
            cost = sum(loads) / 4 if setup.scale == "quick" else 8 * sum(loads)
            jobs.append(Job(f"{teacher}-{decay}-{start}", simulate_curve, config, cost=cost))
    return jobs


def _judge(results: Results) -> Finding:
    found = {}
    for (teacher, decay), loads in _CASES.items():
        estimator = _estimator(teacher, decay)
        small, informed = (results.one(estimator=estimator, start=start) for start in _STARTS)
        for point, other in zip(common.points(small, estimator, loads), common.simulated(informed), strict=True):
            found[teacher, decay, point.load] = point, other
    strong = span(point.ratio.value for (_, decay, _), (point, _) in found.items() if decay >= 0.25)
    weak = span(point.ratio.value for (_, decay, _), (point, _) in found.items() if decay < 0.25)
    others = span(
        other.value / point.error.value for (teacher, _, _), (point, other) in found.items() if teacher == "relu"
    )
    headline, _ = found[_HEADLINE]
    rows = [
        {
            "teacher": _TITLES[teacher],
            "decay": decay,
            "load": load,
            **point.error.columns("error"),
            "replica": point.theory,
            **point.ratio.columns("replica / error"),
            **other.columns("from the teacher"),
        }
        for (teacher, decay, load), (point, other) in found.items()
    ]
    summary = (
        rf"Replica-symmetric error over that of descent from small weights: {strong} at $\lambda \ge 0.25$, {weak} at "
        rf"$\lambda = 0.05$. Descent from the teacher ends in other minima, of {others} times the error: the loss is not "
        rf"convex and replica symmetry is an approximation. Headline: ReLU teacher, $\lambda = {_HEADLINE[1]:g}$, $\alpha = "
        f"{_HEADLINE[2]:g}$."
    )
    verdict = grade(point.ratio.less(1) for point, _ in found.values())
    return finding(verdict, headline.error, headline.theory, summary, rows)


def _figure(results: Results) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE

    grid = np.geomspace(0.4, 10, 30).tolist()
    lines, points = [], []
    for color, ((teacher, decay), loads) in zip(PALETTE, _CASES.items(), strict=False):
        title = f"{_TITLES[teacher]} teacher, λ = {decay:g}"
        estimator = _estimator(teacher, decay)
        y = common.theory_curve(estimator, grid)
        lines.append({"name": f"{title}, replica", "x": grid, "y": y, "color": color})
        found = common.simulated(results.one(estimator=estimator, start="small"))
        points.append({"name": title, "x": loads, "y": found, "color": color})
    return common.curve_figure(lines, points, yaxis_type="log")


CLAIM = Claim(
    id="G4",
    title="Learning curve of a ReLU student",
    statement=(
        "The generalization error of a ReLU student trained with gamma decay, that is with ridge, follows the "
        "replica-symmetric theory."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.4",
    paper=PaperStatement(
        words="The generalization error of a ReLU student is computed by statistical mechanics.",
        section="Generalization analysis",
        known="as remembered",
    ),
    agreement=(
        "Replica-symmetric error against descent from small weights on training sets with label noise 0.25, ReLU and linear "
        r"teachers, $\lambda$ from 0.05 to 1, loads 0.5 to 8. Holds: within 5% in every case, two standard errors forgiven; "
        "approximately: within 15%; else it does not."
    ),
    quantity="generalization error, half the mean squared error, of the ReLU student at λ = 0.25 and α = 4",
    works=("seung1992statistical", "bos1998statistical", "engel2001statistical", "cho2009kernel"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
