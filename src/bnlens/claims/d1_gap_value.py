"""D1: the value of the gap of one unit."""

from __future__ import annotations

from collections.abc import Sequence

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup
from bnlens.claims._estimate import farthest, finding, grade, span
from bnlens.claims._results import Results

_CASES = [*common.cases(at_optimum=False), *common.cases(at_optimum=True)]


def _jobs(setup: Setup) -> Sequence[Job]:
    return [*common.gap_jobs(_CASES, setup.scale, 100), *common.noise_jobs(setup.scale)]


def _points(results: Results) -> dict[common.Case, common.Point]:
    laws = {case: case.law() for case in _CASES}
    return {
        case: common.Point(common.gap_of(case, results), law.coefficient("own"), law.two_term)
        for case, law in laws.items()
    }


def _judge(results: Results) -> Finding:
    points = _points(results)
    ratios = {case: point.paper_ratio for case, point in points.items()}
    verdict = grade(ratio.less(1) for ratio in ratios.values())
    away = span(ratio.value for case, ratio in ratios.items() if not case.at_optimum)
    plain = span(
        ratio.value for case, ratio in ratios.items() if case.at_optimum and case.distribution != "exponential"
    )
    law_error = farthest(point.law_ratio.less(1) for point in points.values())
    headline = points[common.PAPER_CASE]
    correction = (
        rf"Away from a well-specified optimum the two-term value is {away} times the gap; the bias of $\sigma_B$, the "
        r"correlation of $\mu_B$ and $\sigma_B$ and each sample's part in its own statistics are of the same order, and with "
        f"them the own-batch law is within {law_error:.0%} of the gap in all {len(points)} cases."
    )
    summary = (
        f"Two-term value over simulated gap at $M = {common.BATCH_SIZE}$: {away} away from the optimum, "
        f"{plain} at the optimum for pre-activations without skew. The own-batch law is within "
        f"{law_error:.1%} in every case. Headline: the paper's softplus unit on Gaussian pre-activations."
    )
    rows = [{**case.columns, **point.columns("gap", "two-term value", "two-term")} for case, point in points.items()]
    for case, row in zip(points, rows, strict=True):
        if case in common.noise_cases():
            row |= common.gap_of(case, results, "paper").columns("M × gap, paper's noise")
    skewed = {case: case.distribution == "exponential" for case in _CASES}
    parts = {
        name: grade(ratios[case].less(1) for case in _CASES if (case.at_optimum, skewed[case]) in where)
        for name, where in (
            ("at the optimum, without skew", [(True, False)]),
            ("at the optimum, with skew", [(True, True)]),
            ("away from the optimum", [(False, False), (False, True)]),
        )
    }
    return finding(verdict, headline.simulated, headline.paper, summary, rows, correction, parts)


def _figure(results: Results) -> Figure:
    points = _points(results)
    predictions = (("own-batch law", "predicted", "law_ratio"), ("two-term value", "paper", "paper_ratio"))
    series = []
    for name, role, ratio in predictions:
        for at_optimum, where in ((False, "away from it"), (True, "at the optimum")):
            y = [getattr(point, ratio) for case, point in points.items() if case.at_optimum == at_optimum]
            series.append({"name": f"{name}, {where}", "role": role, "open": at_optimum, "y": y})
    places = [case.place for case in common.cases(at_optimum=True)]
    figure = common.category_figure(f"prediction / simulated gap, M = {common.BATCH_SIZE}", places, series)
    common.line_at_one(figure)
    return figure


CLAIM = Claim(
    id="D1",
    title="Value of the gap",
    statement=(
        "At fixed weights the loss with batch statistics exceeds the loss with population statistics by the two-term value "
        r"$\zeta\gamma^2$, $\zeta = \frac{1}{M}\left[\frac{\rho + 2}{8} H_{\gamma\gamma} + \frac{1}{2} H_{\beta\beta}\right]$."
    ),
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2, A.4, A.5",
    paper=PaperStatement(
        words=(
            r"The loss averaged over batches is the loss with population normalization plus $\zeta\gamma^2$, with $\zeta = "
            r"\frac{\rho + 2}{8M} I(\gamma) + \frac{1}{2M} \mathbb{E}[\text{sigmoid}]$: the first term from $\sigma_B$, the "
            r"second from $\mu_B$."
        ),
        section="A probabilistic interpretation of BN, Theorem 1",
        known="as remembered",
    ),
    agreement=(
        "Two-term value against the simulated gap of five units on three distributions at $M = 64$, at the optimum and away "
        "from it. Holds: within 5% in every case, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    quantity="M × gap in nats, of the paper's softplus unit on Gaussian pre-activations",
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
