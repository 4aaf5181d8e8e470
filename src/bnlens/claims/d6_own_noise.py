"""D6: Theorem 1 under its own noise, with two readings of its information."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, grade, span
from bnlens.claims._results import Results
from bnlens.experiments.unit import make_unit

_LIKELIHOODS = ("linear", "logistic", "softplus_glm")  # units whose loss is the likelihood of their teacher's targets
_PLACES = {True: "at the optimum", False: "away from the optimum"}


def _jobs(setup: Setup) -> Sequence[Job]:
    return common.noise_jobs(setup.scale)


class _Point(NamedTuple):
    """M times the gap under the paper's noise: simulated, by the expansion, and by Theorem 1 in two readings of I(gamma)."""

    case: common.Case
    simulated: Estimate
    law: float
    hessian: float
    squared_gradient: float | None

    def ratio(self, reading: str) -> Estimate:
        """Theorem 1 over what is simulated."""
        return self.simulated.under(getattr(self, reading))

    @property
    def row(self) -> dict[str, Any]:
        row = {**self.case.columns, **self.simulated.columns("M × gap"), "expansion": self.law}
        row |= {"two terms, Hessian": self.hessian, "two terms, squared gradients": self.squared_gradient}
        return row | self.ratio("hessian").columns("two-term / gap")


def _points(results: Results) -> list[_Point]:
    return [_point(case, common.gap_of(case, results, "paper", common.LARGE)) for case in common.noise_cases()]


def _point(case: common.Case, simulated: Estimate) -> _Point:
    from bnlens.theory import squared_gradient
    from bnlens.theory.zeta import zeta

    law, (gamma, beta) = case.law(), case.point
    by_gradient = None
    if case.unit in _LIKELIHOODS:
        unit = make_unit(case.unit, case.at_optimum)
        information = squared_gradient(unit, case.distribution, gamma=gamma, beta=beta)
        by_gradient = gamma**2 * float(zeta(1.0, law.kurtosis_factor / 4, law.H_bb, information))
    return _Point(case, simulated, law.coefficient("paper"), law.two_term, by_gradient)


def _judge(results: Results) -> Finding:
    points = _points(results)
    parts: dict[str, Verdict] = {}
    ranges = {}
    for at_optimum, place in _PLACES.items():
        for reading, label in (("hessian", "Hessian"), ("squared_gradient", "squared gradients")):
            some = [one for one in points if one.case.at_optimum == at_optimum and getattr(one, reading) is not None]
            ratios = [one.ratio(reading) for one in some]
            parts[f"{place}, {label}"] = grade(ratio.less(1) for ratio in ratios)
            ranges[at_optimum, reading] = span(ratio.value for ratio in ratios)
    exact = all(parts[name] == "holds" for name in parts if name.startswith(_PLACES[True]))
    verdict: Verdict = "holds approximately" if exact else "does not hold here"
    if set(parts.values()) == {"holds"}:
        verdict = "holds"
    headline = next(one for one in points if one.case == common.PAPER_CASE)
    expansion = span(one.simulated.under(one.law).value for one in points)
    correction = (
        r"Under its own noise Theorem 1 is exact to order $1/M$ where the gradient of $\gamma$ vanishes; elsewhere the mean "
        rf"of $1/\sigma_B$ adds $\gamma (\rho + 2)/4$ times that gradient, and its value is {ranges[False, 'hessian']} times "
        "the gap."
    )
    summary = (
        rf"Two terms over the gap simulated with independent Gaussian $\mu_B$ and $\sigma_B$, $M = {common.LARGE}$: with the "
        f"Hessian {ranges[True, 'hessian']} at the optimum and {ranges[False, 'hessian']} away from it; with the average "
        f"squared gradient, for likelihoods, {ranges[True, 'squared_gradient']} and {ranges[False, 'squared_gradient']}. The "
        f"two agree at the optimum alone. The whole expansion for this noise is {expansion} times the gap. Headline: the "
        "paper's softplus unit on Gaussian pre-activations, away from the optimum."
    )
    rows = [one.row for one in points]
    return finding(verdict, headline.simulated, headline.hessian, summary, rows, correction, parts)


def _figure(results: Results) -> Figure:
    points = _points(results)
    series = []
    for at_optimum, place in _PLACES.items():
        ratios = [one.ratio("hessian") for one in points if one.case.at_optimum == at_optimum]
        series.append({"name": f"two terms, {place}", "role": "paper", "open": at_optimum, "y": ratios})
    places = [one.case.place for one in points if one.case.at_optimum]
    figure = common.category_figure(f"two-term value / gap under the paper's noise, M = {common.LARGE}", places, series)
    common.line_at_one(figure)
    return figure


CLAIM = Claim(
    id="D6",
    title="Theorem 1 under its own noise",
    statement=(
        r"With $\mu_B$ and $\sigma_B$ independent and Gaussian about the population's, of variances $\frac{1}{M}$ and "
        r"$\frac{\rho + 2}{4M}$, the loss rises by $\zeta\gamma^2$ with $I(\gamma)$ the average squared gradient, or the "
        "Hessian."
    ),
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2, A.3",
    paper=PaperStatement(
        words=(
            r"$\mu_B$ and $\sigma_B$ are independent and Gaussian about the population's; averaged over them the loss is "
            r"that with population normalization plus $\zeta\gamma^2$, with $I(\gamma)$ a Fisher information estimated by "
            "squared gradients."
        ),
        section="A probabilistic interpretation of BN, Theorem 1",
        known="as remembered",
    ),
    agreement=(
        "Two terms against gaps simulated with that noise, five units on two distributions at $M = 256$, with the Hessian and, "
        "for the three units whose loss is a likelihood, with squared gradients. Holds: within 5% everywhere, two standard "
        "errors forgiven; approximately: within 5% at a well-specified optimum, in both readings; else it does not."
    ),
    quantity=(
        "M × gap under the paper's noise in nats, of its softplus unit on Gaussian pre-activations away from "
        "the optimum"
    ),
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
