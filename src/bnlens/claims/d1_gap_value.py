"""D1: the value of the gap of one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Finding, Job, Setup
from bnlens.claims._estimate import Estimate, grade, span
from bnlens.claims._results import Results
from bnlens.experiments.unit import simulate_gaps

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_CASES = [*common.cases(at_optimum=False), *common.cases(at_optimum=True)]


def _jobs(setup: Setup) -> Sequence[Job]:
    samples = common.SAMPLES[setup.scale]
    return [
        Job(
            name=case.key,
            function=simulate_gaps,
            config={**case.config(), "batch_sizes": [common.BATCH_SIZE], "samples": samples, "seed": seed},
            cost=samples / 2e6,
        )
        for seed, case in enumerate(_CASES, start=100)
    ]


class _Point(NamedTuple):
    """M times the gap of a case: simulated, by the own-batch law, by the paper's two terms."""

    case: common.Case
    gap: Estimate
    own: float
    two_term: float

    @property
    def own_ratio(self) -> Estimate:
        return self.gap.under(self.own)

    @property
    def two_term_ratio(self) -> Estimate:
        return self.gap.under(self.two_term)

    @property
    def row(self) -> dict[str, Any]:
        return {
            **self.case.columns,
            **self.gap.columns("M x gap"),
            "own-batch law": self.own,
            "two-term value": self.two_term,
            **self.own_ratio.columns("law / gap"),
            **self.two_term_ratio.columns("two-term / gap"),
        }


def _points(results: Results) -> dict[common.Case, _Point]:
    laws = {case: case.law() for case in _CASES}
    return {
        case: _Point(case, common.simulated(results.one(**case.config())), law.coefficient("own"), law.two_term)
        for case, law in laws.items()
    }


def _judge(results: Results) -> Finding:
    points = _points(results)
    away = [point.two_term_ratio.value for case, point in points.items() if not case.at_optimum]
    plain = [
        point.two_term_ratio.value
        for case, point in points.items()
        if case.at_optimum and case.distribution != "exponential"
    ]
    law_error = max(abs(point.own_ratio.value - 1) for point in points.values())
    verdict = grade(point.two_term_ratio.less(1) for point in points.values())
    headline = points[common.PAPER_CASE]
    correction = (
        f"Away from a well-specified optimum the two-term value is {span(away)} times the gap; the bias of sigma_B, "
        f"the correlation of mu_B and sigma_B and each sample's part in its own statistics are of the same order, and with "
        f"them the own-batch law is within {law_error:.0%} of the gap in all {len(points)} cases."
    )
    return Finding(
        verdict=verdict,
        measured=headline.gap.value,
        predicted=headline.two_term,
        stderr=headline.gap.stderr,
        summary=(
            f"Two-term value over simulated gap at M = {common.BATCH_SIZE}: {span(away)} away from the optimum, "
            f"{span(plain)} at the optimum for pre-activations without skew. The own-batch law is within "
            f"{law_error:.1%} in every case. Headline: the paper's softplus unit on Gaussian pre-activations."
        ),
        rows=[point.row for point in points.values()],
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Results) -> Figure:
    points = _points(results)
    series: list[Mapping[str, Any]] = []
    for name, role, ratio in (
        ("own-batch law", "predicted", lambda point: point.own_ratio),
        ("two-term value", "paper", lambda point: point.two_term_ratio),
    ):
        for at_optimum in (False, True):
            series.append(
                {
                    "name": f"{name}, {'at the optimum' if at_optimum else 'away from it'}",
                    "role": role,
                    "open": at_optimum,
                    "y": [ratio(point) for case, point in points.items() if case.at_optimum == at_optimum],
                }
            )
    places = [
        (common.UNIT_NAMES[case.unit], common.SHORT_NAMES[case.distribution]) for case in common.cases(at_optimum=True)
    ]
    return common.category_figure(f"prediction / simulated gap, M = {common.BATCH_SIZE}", places, series, one=True)


CLAIM = Claim(
    id="D1",
    title="Value of the gap",
    statement=(
        "At fixed weights the loss with batch statistics exceeds the loss with population statistics by the two-term value "
        "zeta gamma^2, zeta = [(rho + 2)/8 H_gg + 1/2 H_bb]/M."
    ),
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2, A.4, A.5",
    agreement=(
        "Two-term value against the simulated gap of five units on three distributions at M = 64, at the optimum and away "
        "from it. Holds: within 5% in every case, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
