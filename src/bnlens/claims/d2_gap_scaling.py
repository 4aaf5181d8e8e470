"""D2: the gap falls as 1/M."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup
from bnlens.claims._estimate import Estimate, finding, grade, span
from bnlens.claims._figures import add_estimates
from bnlens.claims._results import Results

_SIZES = (16, 32, 64, 128)
_CASES = common.cases(at_optimum=False)


def _jobs(setup: Setup) -> Sequence[Job]:
    return common.gap_jobs(_CASES, setup.scale, 200, _SIZES)


def _curves(results: Results) -> dict[common.Case, list[Estimate]]:
    """Return M times the gap at each M."""
    found = {case: results.one(**case.config()) for case in _CASES}
    return {case: [common.simulated(result, M) for M in _SIZES] for case, result in found.items()}


def _slope(curve: Sequence[Estimate]) -> Estimate:
    """Return the weighted least-squares slope of log gap over log M."""
    scaled, stderr = np.array(curve).T
    weights = (scaled / stderr) ** 2
    x = np.log(_SIZES) - np.average(np.log(_SIZES), weights=weights)
    spread = np.sum(weights * x**2)
    return Estimate(float(np.sum(weights * x * np.log(scaled / _SIZES)) / spread), float(spread**-0.5))


def _judge(results: Results) -> Finding:
    curves = _curves(results)
    slopes = {case: _slope(curve) for case, curve in curves.items()}
    headline = slopes[common.PAPER_CASE]
    gaussian = span(slope.value for case, slope in slopes.items() if case.distribution == "gaussian")
    rows = []
    for case, curve in curves.items():
        row: dict[str, Any] = {"unit": common.UNIT_NAMES[case.unit], "pre-activations": case.distribution}
        row |= slopes[case].columns("slope")
        for M, scaled in zip(_SIZES, curve, strict=True):
            row |= scaled.columns(f"M × gap, M = {M}")
        rows.append(row | {"own-batch law": case.law().coefficient("own")})
    summary = (
        rf"Slope of log gap over $\log M$ on $M = {_SIZES[0]}$ to {_SIZES[-1]}: {gaussian} for Gaussian "
        f"pre-activations, {span(slope.value for slope in slopes.values())} over all {len(rows)} cases; heavy tails "
        r"and skew bring corrections of order $1/M^2$. Headline: the paper's softplus unit on Gaussian pre-activations."
    )
    return finding(grade(slope.less(-1) for slope in slopes.values()), headline, -1.0, summary, rows)


def _figure(results: Results) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(
        x="statistics batch size M", y="M × gap / own-batch law", xaxis_type="log", xaxis_tickvals=_SIZES, height=480
    )
    looks = dict(zip(common.DISTRIBUTIONS, (("solid", "circle"), ("dash", "diamond"), ("dot", "square")), strict=True))
    colors = dict(zip(common.UNIT_NAMES, cycle(PALETTE), strict=False))
    for case, curve in _curves(results).items():
        ratios = [Estimate(*ratio) for ratio in (np.array(curve) / case.law().coefficient("own")).tolist()]
        (dash, symbol), color = looks[case.distribution], colors[case.unit]
        look = {"line": {"dash": dash, "color": color}, "marker": {"symbol": symbol, "color": color}}
        add_estimates(figure, f"{common.UNIT_NAMES[case.unit]}, {case.distribution}", _SIZES, ratios, mode=None, **look)
    common.line_at_one(figure)
    return figure


CLAIM = Claim(
    id="D2",
    title="Scaling of the gap with the batch size",
    statement="The gap falls as $1/M$ with the statistics batch size $M$.",
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2, A.4",
    paper=PaperStatement(
        words=r"The strength $\zeta$ of the regularization falls in proportion to $1/M$.",
        section="A probabilistic interpretation of BN, after Theorem 1",
        known="as remembered",
    ),
    agreement=(
        "Slope of log gap over $\\log M$ on $M = 16$ to 128, five units on three distributions away from the optimum. Holds: "
        "within 0.05 of $-1$ in every case, two standard errors forgiven; approximately: within 0.15; else it does not."
    ),
    quantity="power of M in the gap, of the paper's softplus unit on Gaussian pre-activations",
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
