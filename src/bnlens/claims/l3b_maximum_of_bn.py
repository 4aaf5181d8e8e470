"""L3b: the maximum learning rate of BN itself."""

from __future__ import annotations

from functools import partial

from bnlens.claims import _maximum as common
from bnlens.claims._claim import Claim, Finding, PaperStatement
from bnlens.claims._results import Results

_KINDS = ("BatchNorm", "WeightNorm")


def _judge(results: Results) -> Finding:
    maxima = common.maxima_of(_KINDS[0], results)
    found = "; ".join(f"{one.name}: {one.rate.value:.1f}, WN {one.plain.value:.1f}" for one in maxima)
    summary = (
        f"Maximum learning rates of true BN at frozen norm: {found}. With a free norm neither has a maximum. Headline: "
        f"{maxima[0].name}, from simulated students."
    )
    correction = (
        "The ordering of the model is not that of BN, whose own noise turns the weights away from the teacher sooner: it "
        f"holds for {', '.join(one.name for one in maxima if one.verdict == 'holds') or 'no unit and $M$ tried'}."
    )
    return common.finding_of(maxima, summary, correction)


CLAIM = Claim(
    id="L3b",
    title="Maximum learning rate of BN itself",
    statement=(
        r"True BN trains at larger learning rates: at frozen norm its maximum exceeds that of WN and SGD by at least $2\zeta$, "
        "for linear and ReLU units."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2, B.3",
    paper=PaperStatement(
        words="BN trains with a large maximum and effective learning rate.",
        section="Abstract; Optimization with regularization, on maximum and effective learning rates",
        known="abstract",
        differs="the paper proves its ordering for the model of BN (L3a); that BN itself obeys it is what we test.",
    ),
    agreement=common.agreement_of("true BN"),
    quantity="maximum learning rate of BN, linear unit, M = 8; the claim is a lower bound",
    works=("ioffe2015batch", "salimans2016weight", "saad1995online"),
    core=True,
    jobs=partial(common.jobs_of, _KINDS),
    judge=_judge,
    figure=partial(common.figure_of, _KINDS),
)
