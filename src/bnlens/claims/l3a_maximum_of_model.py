"""L3a: the maximum learning rate of the paper's model of BN."""

from __future__ import annotations

from functools import partial

from bnlens.claims import _maximum as common
from bnlens.claims._claim import Claim, Finding, PaperStatement
from bnlens.claims._results import Results

_KINDS = ("GammaDecay", "WeightNorm")


def _judge(results: Results) -> Finding:
    maxima = common.maxima_of(_KINDS[0], results)
    found = "; ".join(f"{one.name}: {one.rate.value:.1f}, asked for {one.bound:.1f}" for one in maxima)
    summary = (
        f"Maximum learning rates of WN with gamma decay at frozen norm: {found}. Headline: {maxima[0].name}, from simulated "
        "students."
    )
    return common.finding_of(maxima, summary)


CLAIM = Claim(
    id="L3a",
    title="Maximum learning rate of the model of BN",
    statement=(
        "WN with gamma decay, the model of BN, trains at larger learning rates than WN and SGD: at frozen norm its maximum "
        r"exceeds theirs by at least $2\zeta$, for linear and ReLU units."
    ),
    source="arXiv 1809.00846, section on dynamics; theory sheet B.2",
    paper=PaperStatement(
        words=(
            r"In the model of BN, WN with gamma decay, the maximum learning rate is at least that of WN and SGD plus "
            r"$2\zeta$."
        ),
        section="Optimization with regularization, on maximum and effective learning rates",
        known="as remembered",
    ),
    agreement=common.agreement_of("WN with gamma decay"),
    quantity="maximum learning rate of WN with gamma decay, linear unit, ζ of M = 8; the claim is a lower bound",
    works=("salimans2016weight", "saad1995online"),
    core=True,
    jobs=partial(common.jobs_of, _KINDS),
    judge=_judge,
    figure=partial(common.figure_of, _KINDS),
)
