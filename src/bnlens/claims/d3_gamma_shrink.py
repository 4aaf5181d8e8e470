"""D3: how far batch normalization shrinks gamma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BATCH_SIZE = 128
_CASES = common.cases(at_optimum=True)
_HEADLINE = common.Case("softplus_glm", "gaussian", at_optimum=True)


def simulate_shrink(
    *, unit: str, distribution: str, beta: float, batch_size: int, samples: int, seed: int
) -> dict[str, float]:
    """Job: M (1 - gamma_BN / gamma*) by simulation, with its standard error."""
    from bnlens.simulate import simulate_gamma

    estimate = simulate_gamma(
        common.make_unit(unit, at_optimum=True),
        distribution,
        beta=beta,
        batch_size=batch_size,
        samples=samples,
        seed=seed,
    )
    return {"shrink": estimate.shrink, "stderr": estimate.shrink_stderr, "optimum": estimate.optimum}


def _jobs(setup: Setup) -> Sequence[Job]:
    samples = common.SAMPLES[setup.scale]
    return [
        Job(
            name=case.key,
            function=simulate_shrink,
            config={
                "unit": case.unit,
                "distribution": case.distribution,
                "beta": case.point[1],
                "batch_size": _BATCH_SIZE,
                "samples": samples,
                "seed": seed,
            },
            cost=samples / 1e6,
        )
        for seed, case in enumerate(_CASES, start=300)
    ]


def _row(case: common.Case, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    from bnlens.theory import gamma_shrink

    law = gamma_shrink(common.make_unit(case.unit, at_optimum=True), case.distribution, beta=case.point[1])
    measured, stderr = results[case.key]["shrink"], results[case.key]["stderr"]
    return {
        "unit": common.UNIT_NAMES[case.unit],
        "pre-activations": case.distribution,
        "M x shrink": measured,
        "M x shrink stderr": stderr,
        "own-batch law": law.own,
        "gamma decay": law.decay,
        **common.ratios("shrink", measured, stderr, {"law": law.own, "decay": law.decay}),
    }


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    rows = {case: _row(case, results) for case in _CASES}
    verdict = common.grade((row["decay / shrink"] - 1, row["decay / shrink stderr"]) for row in rows.values())
    halved = [
        row["decay / shrink"]
        for case, row in rows.items()
        if case.unit in ("linear", "relu", "softplus_glm") and case.distribution != "exponential"
    ]
    everything = common.span(row["decay / shrink"] for row in rows.values())
    law_error = max(abs(row["law / shrink"] - 1) for row in rows.values())
    headline = rows[_HEADLINE]
    correction = (
        f"Gamma decay predicts {common.span(halved)} times the shrink of gamma under batch normalization for linear, ReLU and "
        "softplus units without skew, because the penalty of batch normalization is not quadratic in gamma: its slope at the "
        "optimum is half that of zeta gamma^2."
    )
    return Finding(
        verdict=verdict,
        measured=headline["M x shrink"],
        predicted=headline["gamma decay"],
        stderr=headline["M x shrink stderr"],
        summary=(
            f"Gamma decay predicts {everything} times the simulated shrink M (1 - gamma_BN/gamma*) at M = {_BATCH_SIZE}, "
            f"{common.span(halved)} for linear, ReLU and softplus units without skew. The slope of the own-batch law is within "
            f"{law_error:.0%} in every case. Headline: the paper's softplus unit on Gaussian pre-activations."
        ),
        rows=list(rows.values()),
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    rows = [_row(case, results) for case in _CASES]
    places = [(row["unit"], common.SHORT_NAMES[row["pre-activations"]]) for row in rows]
    columns = {
        "measured": ("simulated", "M x shrink"),
        "predicted": ("own-batch law", "own-batch law"),
        "paper": ("gamma decay", "gamma decay"),
    }
    return common.category_figure("M (1 − γ_BN / γ*)", common.comparison(rows, places, columns))


CLAIM = Claim(
    id="D3",
    title="Shrink of gamma",
    statement=(
        "Batch normalization shrinks gamma as gamma decay does: gamma_BN minimises the population loss plus zeta gamma^2, so "
        "that 1 - gamma_BN/gamma* = 2 zeta/H_gg."
    ),
    source="arXiv 1809.00846, gamma decay; theory sheet A.3 (c) to (e), A.5",
    agreement=(
        "Gamma decay with constant zeta against the simulated minimiser over gamma at M = 128, five units on three "
        "distributions at a well-specified optimum. Holds: within 5% in every case, two standard errors forgiven; "
        "approximately: within 15%; else it does not."
    ),
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
