"""N3: gamma decay in a deep network."""

from __future__ import annotations

from bnlens.claims import _dial
from bnlens.claims import _explicit as common
from bnlens.claims._claim import Claim, Finding, PaperStatement
from bnlens.claims._estimate import finding
from bnlens.claims._losses import LOSSES
from bnlens.claims._results import Results, TrainingRuns

_PENALTY = common.Penalty("N3", "gamma-decay", "gamma decay", factors=(1,))


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    ways = _PENALTY.ways(runs)
    bn, _, decay = ways
    verdict, premise = common.judged(ways, decay)
    train, test = (decay.strength[what] for what in LOSSES)
    share = decay.gamma[:-1] / bn.gamma[:-1]
    summary = (
        f"On {runs.data} at $M = {common.target_of(runs)}$, gamma decay covers {train.value:.2f} of the distance from PN to "
        f"BN in train loss and {test.value:.2f} in test loss; test loss {decay.loss['test_loss'].value:.3f} against BN's "
        f"{bn.loss['test_loss'].value:.3f}. It leaves rms γ in the layers before the last at {share.min():.2f} to "
        f"{share.max():.2f} times BN's.{premise}"
    )
    correction = (
        rf"Gamma decay with the formula's $\zeta$, taken literally in every layer, is {train.value:.2f} times as strong as "
        f"BN in train loss and {test.value:.2f} times in test loss: where another normalization follows, the scale γ is "
        "free, and the penalty drives it down instead of regularising as BN does."
    )
    return finding(verdict, train, 1.0, summary, [way.row for way in ways], correction)


CLAIM = Claim(
    id="N3",
    title="Gamma decay in a deep network",
    statement="A network with population normalization and gamma decay in every layer trains as with BN over M samples.",
    source="arXiv 1809.00846, Theorem 1 taken to whole networks, as in its experiments with explicit regularisers",
    paper=PaperStatement(
        words="PN with gamma decay recovers the validation result of BN.",
        section="Experiments in CNNs, on BN as PN with gamma decay",
        known="as remembered",
        differs="gamma decay in every layer and equality of losses are our reading.",
    ),
    agreement=common.AGREEMENT,
    quantity="share of the distance in train loss from PN to BN that gamma decay covers",
    works=("ioffe2015batch", "ioffe2017renormalization", *_dial.WORKS),
    core=False,
    jobs=_PENALTY.jobs,
    judge=_judge,
    figure=_PENALTY.figure,
    parameters=common.parameters,
)
