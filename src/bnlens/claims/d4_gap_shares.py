"""D4: what of the gap comes from mu_B and what from sigma_B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Finding, Job, Setup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_NOISES = ("mean", "std", "both")
_LABELS = {"mean": "μ_B", "std": "σ_B", "both": "both"}
_RUNS = [
    (case, statistics)
    for at_optimum, statistics in ((False, "own"), (False, "fresh"), (True, "own"))
    for case in common.cases(at_optimum=at_optimum, distributions=("gaussian", "exponential"))
]


def _name(case: common.Case, statistics: str) -> str:
    return f"{case.key}-{statistics}"


def _jobs(setup: Setup) -> Sequence[Job]:
    samples = common.SAMPLES[setup.scale]
    return [
        Job(
            name=_name(case, statistics),
            function=common.simulate,
            config={
                **case.config(),
                "batch_sizes": [common.BATCH_SIZE],
                "samples": samples,
                "seed": seed,
                "statistics": statistics,
                "noises": list(_NOISES),
            },
            cost=samples / 2e6 * len(_NOISES),
        )
        for seed, (case, statistics) in enumerate(_RUNS, start=400)
    ]


def _rows(case: common.Case, statistics: str, results: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return one row for each noise of a run."""
    law = case.law()
    shares = law.shares("own" if statistics == "own" else "fresh")
    paper = law.two_term_shares
    laws = {"mean": shares.mean, "std": shares.std, "both": shares.mean + shares.std + shares.cross}
    papers = {"mean": paper.mean, "std": paper.std, "both": law.two_term}
    rows = {}
    for noise in _NOISES:
        estimate = results[_name(case, statistics)][f"{noise}-M{common.BATCH_SIZE}"]
        rows[noise] = {
            **case.columns,
            "statistics": "own batch" if statistics == "own" else "fresh batch",
            "random": _LABELS[noise],
            "M x gap": common.BATCH_SIZE * estimate["gap"],
            "M x gap stderr": common.BATCH_SIZE * estimate["stderr"],
            "law": laws[noise],
            "two-term share": papers[noise],
        }
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = {run: _rows(*run, results) for run in _RUNS}
    own = {case: rows for (case, statistics), rows in runs.items() if statistics == "own"}

    def deviations(column: str, chosen: Sequence[Mapping[str, dict[str, Any]]]) -> list[tuple[float, float]]:
        # Relative to the whole gap: a share near zero has no meaningful relative error.
        return [
            ((row[column] - row["M x gap"]) / rows["both"]["M x gap"], row["M x gap stderr"] / rows["both"]["M x gap"])
            for rows in chosen
            for row in rows.values()
        ]

    def worst(column: str, chosen: Sequence[Mapping[str, dict[str, Any]]]) -> float:
        return max(abs(deviation) for deviation, _ in deviations(column, chosen))

    plain = [rows for case, rows in own.items() if case.at_optimum and case.distribution == "gaussian"]
    away = [rows for case, rows in own.items() if not case.at_optimum]
    verdict = common.grade(deviations("two-term share", list(own.values())))
    headline = own[common.PAPER_CASE]["mean"]
    correction = (
        "Away from a well-specified optimum the shares are not the two terms: each sample's part in its own statistics moves "
        f"-gamma G_g into the share of mu_B and gamma (G_g - T3)/2 into that of sigma_B, and the bias of sigma_B adds to its "
        f"share; the two terms miss the shares by up to {worst('two-term share', away):.0%} of the gap, the own-batch law by "
        f"up to {worst('law', away):.0%}."
    )
    return Finding(
        verdict=verdict,
        measured=headline["M x gap"],
        predicted=headline["two-term share"],
        stderr=headline["M x gap stderr"],
        summary=(
            f"With only mu_B, only sigma_B or both random, the two terms miss the simulated own-batch shares by up to "
            f"{worst('two-term share', plain):.0%} of the gap at the optimum of Gaussian pre-activations and by up to "
            f"{worst('two-term share', away):.0%} away from it; the law misses them by up to "
            f"{worst('law', list(own.values())):.0%}. Skew adds a cross term that neither statistic makes alone. Headline: "
            "the share of mu_B for the paper's softplus unit on Gaussian pre-activations."
        ),
        rows=[row for rows in runs.values() for row in rows.values()],
        corrects_paper=None if verdict == "holds" else correction,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    rows = [
        row
        for case, statistics in _RUNS
        if statistics == "own" and not case.at_optimum and case.distribution == "gaussian"
        for row in _rows(case, statistics, results).values()
    ]
    places = [(row["unit"], row["random"]) for row in rows]
    columns = {
        "measured": ("simulated", "M x gap"),
        "predicted": ("own-batch law", "law"),
        "paper": ("two terms", "two-term share"),
    }
    figure = common.category_figure("M × gap (nats per sample)", common.comparison(rows, places, columns))
    figure.update_xaxes(title_text="random statistic; Gaussian pre-activations, own batch, away from the optimum")
    return figure


CLAIM = Claim(
    id="D4",
    title="Shares of mu_B and sigma_B in the gap",
    statement=(
        "The noise of mu_B contributes gamma^2 H_bb/(2M) to the gap and the noise of sigma_B gamma^2 (rho + 2) H_gg/(8M), and "
        "the two add up."
    ),
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2",
    agreement=(
        "Two terms against gaps simulated with one statistic random and the other at its population value, own batch, M = 64, "
        "five units on two distributions, at the optimum and away from it. Holds: each share and their sum within 5% of the "
        "gap in every case, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
