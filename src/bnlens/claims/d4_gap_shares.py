"""D4: what of the gap comes from mu_B and what from sigma_B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from bnlens.claims import _decomposition as common
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup
from bnlens.claims._estimate import Estimate, farthest, finding, grade
from bnlens.claims._results import Results

_NOISES = ("mean", "std", "both")
_LABELS = {"mean": "μ_B", "std": "σ_B", "both": "both"}
_RUNS = [
    (case, statistics)
    for at_optimum, statistics in ((False, "own"), (False, "fresh"), (True, "own"))
    for case in common.cases(at_optimum=at_optimum, distributions=("gaussian", "exponential"))
]


def _jobs(setup: Setup) -> Sequence[Job]:
    return [
        replace(
            job,
            name=f"{job.name}-{statistics}",
            config={**job.config, "statistics": statistics, "noises": list(_NOISES)},
            cost=job.cost * len(_NOISES),
        )
        for job, (_, statistics) in zip(
            common.gap_jobs([case for case, _ in _RUNS], setup.scale, 400), _RUNS, strict=True
        )
    ]


class _Share(NamedTuple):
    """The part of M times the gap of a case that comes from one noise, or from both.

    The law and the paper miss it by a part of the whole gap: a share near zero has no meaningful relative error.
    """

    case: common.Case
    statistics: str
    noise: str
    point: common.Point
    law_miss: Estimate
    paper_miss: Estimate


def _shares(results: Results) -> list[_Share]:
    found = []
    for case, statistics in _RUNS:
        law = case.law()
        shares = law.shares("own" if statistics == "own" else "fresh")
        laws = (shares.mean, shares.std, shares.mean + shares.std + shares.cross)
        papers = (law.two_term_shares.mean, law.two_term_shares.std, law.two_term)
        result = results.one(**case.config(), statistics=statistics)
        *_, gap = simulated = [common.simulated(result, noise=noise) for noise in _NOISES]
        for noise, point in zip(_NOISES, map(common.Point, simulated, laws, papers), strict=True):
            share, stderr = point.simulated
            misses = (Estimate((value - share) / gap.value, stderr / gap.value) for value in (point.law, point.paper))
            found.append(_Share(case, statistics, noise, point, *misses))
    return found


def _judge(results: Results) -> Finding:
    shares = _shares(results)
    own = [share for share in shares if share.statistics == "own"]
    away = [share for share in own if not share.case.at_optimum]
    plain = [share for share in own if share.case.at_optimum and share.case.distribution == "gaussian"]
    verdict = grade(share.paper_miss for share in own)
    headline = next(share.point for share in own if (share.case, share.noise) == (common.PAPER_CASE, "mean"))
    rows = [
        {
            **share.case.columns,
            "statistics": "own batch" if share.statistics == "own" else "fresh batch",
            "random": _LABELS[share.noise],
            **share.point.simulated.columns("M × gap"),
            "law": share.point.law,
            "two-term share": share.point.paper,
        }
        for share in shares
    ]
    paper_away = farthest(share.paper_miss for share in away)
    correction = (
        "Away from a well-specified optimum the shares are not the two terms: each sample's part in its own statistics moves "
        r"$-\gamma G_\gamma$ into the share of $\mu_B$ and $\gamma (G_\gamma - T_3)/2$ into that of $\sigma_B$, and the bias "
        rf"of $\sigma_B$ adds to its share; the two terms miss the shares by up to {paper_away:.0%} of the gap, the "
        f"own-batch law by up to {farthest(share.law_miss for share in away):.0%}."
    )
    summary = (
        rf"With only $\mu_B$, only $\sigma_B$ or both random, the two terms miss the simulated own-batch shares by up to "
        f"{farthest(share.paper_miss for share in plain):.0%} of the gap at the optimum of Gaussian pre-activations and by "
        f"up to {paper_away:.0%} away from it; the law misses them by up to "
        f"{farthest(share.law_miss for share in own):.0%}. Skew adds a cross term that neither statistic makes alone. "
        r"Headline: the share of $\mu_B$ for the paper's softplus unit on Gaussian pre-activations."
    )
    return finding(verdict, headline.simulated, headline.paper, summary, rows, correction)


def _figure(results: Results) -> Figure:
    shown = [
        share
        for share in _shares(results)
        if share.statistics == "own" and not share.case.at_optimum and share.case.distribution == "gaussian"
    ]
    places = [(common.UNIT_NAMES[share.case.unit], _LABELS[share.noise]) for share in shown]
    points = [share.point for share in shown]
    figure = common.comparison_figure("M × gap (nats per sample)", places, points, paper="two terms")
    figure.update_xaxes(title_text="random statistic; Gaussian pre-activations, own batch, away from the optimum")
    return figure


CLAIM = Claim(
    id="D4",
    title="Shares of batch mean and deviation in the gap",
    statement=(
        r"The noise of $\mu_B$ contributes $\frac{1}{2M} \gamma^2 H_{\beta\beta}$ to the gap and the noise of $\sigma_B$ "
        r"$\frac{\rho + 2}{8M} \gamma^2 H_{\gamma\gamma}$, and the two add up."
    ),
    source="arXiv 1809.00846, Theorem 1; theory sheet A.2",
    paper=PaperStatement(
        words=(
            r"Of the two terms of $\zeta$ the one with the Fisher information comes from the noise of $\sigma_B$ and the "
            r"other from that of $\mu_B$, the two being independent."
        ),
        section="A probabilistic interpretation of BN, Theorem 1",
        known="as remembered",
    ),
    agreement=(
        "Two terms against gaps simulated with one statistic random and the other at its population value, own batch, $M = "
        "64$, five units on two distributions, at the optimum and away from it. Holds: each share and their sum within 5% of "
        "the gap in every case, two standard errors forgiven; approximately: within 15%; else it does not."
    ),
    quantity=(
        "M × the part of the gap by the noise of the mean, in nats, of the paper's softplus unit on Gaussian "
        "pre-activations"
    ),
    works=("ioffe2015batch",),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
