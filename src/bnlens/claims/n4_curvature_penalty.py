"""N4: the curvature penalty against batch normalization."""

from __future__ import annotations

from bnlens.claims import _dial
from bnlens.claims import _explicit as common
from bnlens.claims._claim import Claim, Finding
from bnlens.claims._estimate import finding
from bnlens.claims._losses import LOSSES
from bnlens.claims._results import Results, TrainingRuns

_PENALTY = common.Penalty("N4", "curvature", "curvature penalty", factors=(1, 2))


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    M = common.target_of(runs)
    ways = _PENALTY.ways(runs)
    _, _, of_M, of_twice = ways
    verdict, premise = common.judged(ways, of_M)
    at_M, at_twice = ([way.strength[what] for what in LOSSES] for way in (of_M, of_twice))
    summary = (
        f"On {runs.data} at $M = {M}$, the penalty covers {at_M[0].value:.2f} of the distance from PN to BN in train loss "
        f"and {at_M[1].value:.2f} in test loss; the penalty of {2 * M} covers {at_twice[0].value:.2f} and "
        f"{at_twice[1].value:.2f}. The penalty has the value of the quadratic term of BN's gap; its slope is larger than "
        "the whole gap's, which an image's share in its own batch flattens (theory sheet A.3: by half for single units)."
        f"{premise}"
    )
    return finding(verdict, at_M[0], 1.0, summary, [way.row for way in ways])


CLAIM = Claim(
    id="N4",
    title="The curvature penalty against BN",
    statement=(
        "A network with population normalization and the curvature penalty, the Gauss-Newton form of the statistics' noise "
        "with later layers' response taken out, trains as with BN over M samples."
    ),
    source="theory sheet D.2; goes beyond arXiv 1809.00846, whose regulariser is diagonal and layer by layer",
    agreement=common.AGREEMENT,
    quantity="share of the distance in train loss from PN to BN that the penalty covers",
    works=("ioffe2015batch", "ioffe2017renormalization", "schraudolph2002fast", "martens2020new", *_dial.WORKS),
    core=False,
    jobs=_PENALTY.jobs,
    judge=_judge,
    figure=_PENALTY.figure,
    parameters=common.parameters,
)
