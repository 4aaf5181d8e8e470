"""G2: weight normalization with gamma decay is ridge."""

from __future__ import annotations

from collections.abc import Sequence

from bnlens.claims import _generalization as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import finding
from bnlens.claims._results import Results
from bnlens.experiments.generalization import compare_gamma_decay
from bnlens.render import number

_LOADS = (0.5, 1.0, 1.5, 4.0)
_ZETAS = (0.01, 0.1)
_EQUAL, _CLOSE = 1e-6, 1e-2
_HEADLINE = (0.1, 1.0)


def _jobs(setup: Setup) -> Sequence[Job]:
    jobs = []
    for seed, zeta in enumerate(_ZETAS, start=410):
        config = {"zeta": zeta, "alpha": list(_LOADS), **common.SCALES[setup.scale], "seed": seed}
        jobs.append(Job(f"zeta-{zeta}", compare_gamma_decay, config, cost=5 if setup.scale == "quick" else 120))
    return jobs


def _judge(results: Results) -> Finding:
    distances, points = {}, {}
    for zeta in _ZETAS:
        result = results.one(zeta=zeta)
        curve = common.points(result, {"kind": "gamma decay", "zeta": zeta}, _LOADS)
        for point, distance in zip(curve, result["distance"], strict=True):
            distances[zeta, point.load], points[zeta, point.load] = distance, point
    farthest = max(distances.values())
    verdict: Verdict = (
        "holds" if farthest <= _EQUAL else "holds approximately" if farthest <= _CLOSE else "does not hold here"
    )
    headline = points[_HEADLINE]
    rows = [
        {
            "ζ": zeta,
            "load": load,
            "ridge, λ = 2αζ": 2 * load * zeta,
            "distance to ridge": distances[zeta, load],
            **point.error.columns("error"),
            "curve of ridge": point.theory,
        }
        for (zeta, load), point in points.items()
    ]
    summary = (
        rf"Descended in its own parameters $(w, \gamma)$, gamma decay ends at most {number(farthest)} of the length of the "
        r"ridge solution away from it, on every training set at every load. Headline: its error at $\zeta = "
        rf"{_HEADLINE[0]:g}$ and $\alpha = {_HEADLINE[1]:g}$ against the curve of ridge."
    )
    return finding(verdict, headline.error, headline.theory, summary, rows)


def _figure(results: Results) -> Figure:
    import numpy as np

    from bnlens.render import PALETTE

    grid = np.geomspace(0.3, 5, 120).tolist()
    lines, points = [], []
    for color, zeta in zip(PALETTE, _ZETAS, strict=False):
        curve = common.theory_curve({"kind": "gamma decay", "zeta": zeta}, grid)
        lines.append({"name": f"ridge, λ = 2 α {zeta}", "x": grid, "y": curve, "color": color})
        found = common.simulated(results.one(zeta=zeta))
        points.append({"name": f"gamma decay, ζ = {zeta}", "x": _LOADS, "y": found, "color": color})
    return common.curve_figure(lines, points)


CLAIM = Claim(
    id="G2",
    title="Gamma decay is ridge",
    statement=(
        r"A linear student with weight normalization and gamma decay $\zeta\gamma^2$ added to the mean loss is ridge "
        r"regression with $\lambda = 2\alpha\zeta$ for the sum over samples."
    ),
    source="arXiv 1809.00846, generalization; theory sheet C.2",
    paper=PaperStatement(
        words=(
            "The generalization error of a linear student with weight normalization and gamma decay is computed in "
            "closed form."
        ),
        section="Generalization analysis",
        known="as remembered",
        differs="that the student is ridge regression's, weight by weight, is our sharper form.",
    ),
    agreement=(
        r"Weights descended in $(w, \gamma)$ against ridge on the same training sets, as a fraction of the length of the ridge "
        "solution. Holds: at most $10^{-6}$ apart on every training set; approximately: $10^{-2}$; else it does not."
    ),
    quantity="generalization error, half the mean squared error, with gamma decay at ζ = 0.1 and α = 1",
    works=("salimans2016weight", "hoerl1970ridge"),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
