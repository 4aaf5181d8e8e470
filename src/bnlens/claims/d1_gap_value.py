"""D1: the value of the gap of one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_CASES = [*common.cases(at_optimum=False), *common.cases(at_optimum=True)]
_RESULT = f"both-M{common.BATCH_SIZE}"


def _jobs(setup: Setup) -> Sequence[Job]:
    samples = common.SAMPLES[setup.scale]
    return [
        Job(
            name=case.key,
            function=common.simulate,
            config={**case.config(), "batch_sizes": [common.BATCH_SIZE], "samples": samples, "seed": seed},
            cost=samples / 2e6,
        )
        for seed, case in enumerate(_CASES, start=100)
    ]


def _row(case: common.Case, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    estimate, law = results[case.key][_RESULT], case.law()
    measured, stderr = common.BATCH_SIZE * estimate["gap"], common.BATCH_SIZE * estimate["stderr"]
    own, paper = law.coefficient("own"), law.two_term
    return {
        **case.columns,
        "M x gap": measured,
        "M x gap stderr": stderr,
        "own-batch law": own,
        "two-term value": paper,
        **common.ratios("gap", measured, stderr, {"law": own, "two-term": paper}),
    }


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = {case: _row(case, results) for case in _CASES}
    away = [row["two-term / gap"] for case, row in rows.items() if not case.at_optimum]
    plain = [
        row["two-term / gap"] for case, row in rows.items() if case.at_optimum and case.distribution != "exponential"
    ]
    law_error = max(abs(row["law / gap"] - 1) for row in rows.values())
    verdict = common.grade((row["two-term / gap"] - 1, row["two-term / gap stderr"]) for row in rows.values())
    headline = rows[common.PAPER_CASE]
    correction = (
        f"Away from a well-specified optimum the two-term value is {common.span(away)} times the gap; the bias of sigma_B, "
        f"the correlation of mu_B and sigma_B and each sample's part in its own statistics are of the same order, and with "
        f"them the own-batch law is within {law_error:.0%} of the gap in all {len(rows)} cases."
    )
    return Finding(
        verdict=verdict,
        measured=headline["M x gap"],
        predicted=headline["two-term value"],
        stderr=headline["M x gap stderr"],
        summary=(
            f"Two-term value over simulated gap at M = {common.BATCH_SIZE}: {common.span(away)} away from the optimum, "
            f"{common.span(plain)} at the optimum for pre-activations without skew. The own-batch law is within "
            f"{law_error:.1%} in every case. Headline: the paper's softplus unit on Gaussian pre-activations."
        ),
        rows=list(rows.values()),
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    series = []
    for name, column, role in (
        ("own-batch law", "law / gap", "predicted"),
        ("two-term value", "two-term / gap", "paper"),
    ):
        for at_optimum in (False, True):
            chosen = [case for case in _CASES if case.at_optimum == at_optimum]
            rows = [_row(case, results) for case in chosen]
            series.append(
                {
                    "name": f"{name}, {'at the optimum' if at_optimum else 'away from it'}",
                    "role": role,
                    "open": at_optimum,
                    "x": [(row["unit"], common.SHORT_NAMES[row["pre-activations"]]) for row in rows],
                    "y": [row[column] for row in rows],
                    "stderr": [row[f"{column} stderr"] for row in rows],
                }
            )
    return common.category_figure(f"prediction / simulated gap, M = {common.BATCH_SIZE}", series, one=True)


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
