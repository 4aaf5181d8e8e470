"""G1: the learning curves of least squares and ridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup
from bnlens.claims._estimate import farthest, finding, grade
from bnlens.claims._results import Results
from bnlens.experiments.generalization import LABEL_NOISE, simulate_curve

_HEADLINE = 1.0  # where least squares has no mean
_LOADS = (0.5, 0.8, _HEADLINE, 1.4, 2.0, 4.0)


class _Student(NamedTuple):
    name: str
    title: str
    estimator: Mapping[str, Any]
    loads: Sequence[float] = _LOADS


_LEAST_SQUARES = _Student(
    "least squares", "least squares", {"kind": "least squares"}, [load for load in _LOADS if load != _HEADLINE]
)
_WEAK = _Student("ridge-0.1", "ridge, λ = 0.1", {"kind": "ridge", "decay": 0.1})
_BEST = _Student("ridge-0.25", "ridge, λ = S = 0.25", {"kind": "ridge", "decay": LABEL_NOISE})
_STUDENTS = (_LEAST_SQUARES, _WEAK, _BEST)


def _jobs(setup: Setup) -> Sequence[Job]:
    jobs = []
    for seed, student in enumerate(_STUDENTS, start=400):
        config = {
            "estimator": student.estimator,
            "alpha": list(student.loads),
            **common.SCALES[setup.scale],
            "seed": seed,
        }
        jobs.append(Job(student.name, simulate_curve, config, cost=2 if setup.scale == "quick" else 60))
    return jobs


def _points(results: Results, student: _Student) -> list[common.Point]:
    return common.points(results.one(estimator=student.estimator), student.estimator, student.loads)


def _judge(results: Results) -> Finding:
    weak, best = _points(results, _WEAK), _points(results, _BEST)
    points = [*_points(results, _LEAST_SQUARES), *weak, *best]
    deviations = [point.ratio.less(1) for point in points]
    inside = sum(abs(deviation.value) <= 2 * deviation.stderr for deviation in deviations)
    excess = min(point.error.value / least.error.value for point, least in zip(weak, best, strict=True))
    headline = next(point for point in weak if point.load == _HEADLINE)
    titles = [student.title for student in _STUDENTS for _ in student.loads]
    rows = [
        {
            "estimator": title,
            "load": point.load,
            **point.error.columns("error"),
            "closed form": point.theory,
            **point.ratio.columns("closed form / error"),
        }
        for title, point in zip(titles, points, strict=True)
    ]
    summary = (
        rf"{inside} of {len(points)} simulated errors lie within two standard errors of the closed forms for $N \to \infty$, "
        rf"the farthest {farthest(deviations):.1%} away. Ridge at $\lambda = 0.1$ has at least {excess:.2f} times the error "
        r"of ridge at $\lambda = S$ at every load. Headline: ridge at $\lambda = 0.1$ and $\alpha = 1$, where least squares "
        "diverges."
    )
    return finding(grade(deviations), headline.error, headline.theory, summary, rows)


def _figure(results: Results) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE

    grid = [*np.geomspace(0.3, 0.97, 60).tolist(), None, *np.geomspace(1.03, 5, 60).tolist()]
    smooth = np.geomspace(0.3, 5, 120).tolist()
    lines, points = [], []
    for color, student in zip(PALETTE, _STUDENTS, strict=False):
        x = grid if student is _LEAST_SQUARES else smooth
        y = iter(common.theory_curve(student.estimator, [load for load in x if load is not None]))
        heights = [None if load is None else next(y) for load in x]  # a gap at alpha = 1, where it diverges
        lines.append({"name": student.title, "x": x, "y": heights, "color": color})
        found = common.simulated(results.one(estimator=student.estimator))
        points.append({"name": f"{student.title}, simulated", "x": student.loads, "y": found, "color": color})
    return common.curve_figure(lines, points, yaxis_range=[0, 1.2])


CLAIM = Claim(
    id="G1",
    title="Learning curves of least squares and ridge",
    statement=(
        r"A linear student trained on $P = \alpha N$ noisy labels of a linear teacher has, in the limit of many inputs, a "
        r"generalization error in closed form: with least squares it diverges at $\alpha = 1$, ridge removes the peak, and "
        r"is best with $\lambda$ equal to the variance of the label noise, at every load."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.1, C.2",
    paper=PaperStatement(
        words=(
            "The generalization error of a linear student is a curve over the number of samples per weight, computed "
            "by statistical mechanics."
        ),
        section="Generalization analysis",
        known="as remembered",
    ),
    agreement=(
        r"Closed forms for $N \to \infty$ against training sets with label noise 0.25 at loads from 0.5 to 4. Holds: within "
        "5% at every load, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    quantity="generalization error, half the mean squared error, of ridge at λ = 0.1 and α = 1",
    works=("hoerl1970ridge", "krogh1992generalization", "hastie2022surprises", "advani2020high"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
