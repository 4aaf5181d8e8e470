"""Compares population layers with a penalty to BN over M samples, for the claims on explicit regularisers, N3 and N4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _dial
from bnlens.claims._claim import Figure, Job, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate
from bnlens.claims._losses import LOSSES, difference, gamma_text, grade_strengths, strength
from bnlens.claims._plans import POPULATION
from bnlens.claims._results import Results, TrainingRuns

__all__ = ["AGREEMENT", "Penalty", "Way", "judged", "parameters", "target_of"]

_DIGITS, _CIFAR = 4, 16  # the M to regularise as
AGREEMENT = (
    "Strength is the share of the distance from population layers to BN over M that a penalty covers, in train loss and in "
    "test loss; 1 is BN's. Premise not met: BN and population layers differ by less than two standard errors in one of the two "
    "losses. Holds: both strengths within 0.25 of 1, one standard error forgiven; approximately: within 0.5."
)


def parameters(_scale: Scale, _data: Path | None) -> Mapping[str, Any]:
    """Return the parameters of N3 and N4, the same at every scale."""
    return {"seeds": 3}


class Way(NamedTuple):
    """A way of regularising: its losses and, with a penalty, how it stands to BN over M, by entry of the results.

    Attributes:
        name: of the way.
        loss: mean over seeds.
        less_bn: what is left when BN's is taken away.
        strength: share of the distance from population layers to BN: 1 is BN's.
        gamma: rms by layer, mean over seeds, (layers,).
        gamma_text: the same as a cell of a table.
    """

    name: str
    loss: Mapping[str, Estimate]
    less_bn: Mapping[str, Estimate]
    strength: Mapping[str, Estimate]
    gamma: NDArray[np.float64]
    gamma_text: str

    @property
    def row(self) -> dict[str, Any]:
        """The row of a table."""
        row: dict[str, Any] = {"regularised by": self.name}
        for what, loss in LOSSES.items():
            row |= self.loss[what].columns(loss)
            if self.strength:
                row |= self.less_bn[what].columns(f"{loss} less BN's")
                row |= self.strength[what].columns(f"{loss}, strength")
        return {**row, "rms γ": self.gamma_text}


def target_of(runs: TrainingRuns) -> int:
    """Return M, the batch size that the penalty stands for."""
    return int(runs.distinct("M", regulariser=None)[0])


class Penalty(NamedTuple):
    """A penalty on population layers, as one of the claims tests it.

    Attributes:
        claim: its id.
        regulariser: the penalty, see `bnlens.experiments.training`.
        label: what tables call it.
        factors: the batch sizes that it stands for, over M.
    """

    claim: str
    regulariser: str
    label: str
    factors: Sequence[int]

    def _kinds(self, M: int) -> dict[str, dict[str, Any]]:
        """Return BN over M, population layers without the penalty, and with it at M times each of the factors."""
        penalised = {f"PN + {self.label}, M = {factor * M}": {"M": factor * M} for factor in self.factors}
        kinds = {name: {**kind, "regulariser": self.regulariser} for name, kind in penalised.items()}
        return {f"BN, M = {M}": {"M": M}, "PN": {"M": POPULATION}, **kinds}

    def jobs(self, setup: Setup) -> Sequence[Job]:
        """Return the jobs of its claim."""
        M = _DIGITS if setup.data is None else _CIFAR
        return _dial.jobs_of(self.claim, setup, list(self._kinds(M).values()))

    def ways(self, runs: TrainingRuns) -> list[Way]:
        """Return the ways of regularising: by BN over M, not at all, by the penalty for each of the factors."""
        kinds = self._kinds(target_of(runs))
        bn, pn, *_ = kinds.values()
        return [
            Way(
                name,
                {what: estimate(runs.values(what, **kind)) for what in LOSSES},
                {what: difference(runs, what, kind, bn) for what in LOSSES},
                {what: strength(runs, what, kind, bn, pn) for what in LOSSES if "regulariser" in kind},
                runs.values("gamma", **kind).mean(0),
                gamma_text(runs, **kind),
            )
            for name, kind in kinds.items()
        ]

    def figure(self, results: Results) -> Figure:
        """Return a figure of test loss over train loss, one point per way of regularising."""
        from bnlens.claims._figures import add_estimates
        from bnlens.render import PALETTE, new_figure

        figure = new_figure(x="train loss (nats per image)", y="test loss (nats per image)")
        symbols = ("circle", "square", "diamond", "diamond-open")
        for way, color, symbol in zip(self.ways(TrainingRuns(results)), PALETTE, symbols, strict=False):
            train, test = (way.loss[what] for what in LOSSES)
            add_estimates(figure, way.name, [train], [test], marker={"color": color, "symbol": symbol, "size": 11})
        return figure


def judged(ways: Sequence[Way], of_penalty: Way) -> tuple[Verdict, str]:
    """Return the verdict on a penalty, and a sentence on the premise if BN does not differ from population layers."""
    _, pn, *_ = ways
    same = [
        f"{pn.less_bn[what].text} in {loss}" for what, loss in LOSSES.items() if abs(pn.less_bn[what].in_errors) < 2
    ]
    if same:
        return "premise not met", f" BN cannot be told from population layers: PN less BN is {' and '.join(same)}."
    return grade_strengths(of_penalty.strength.values()), ""
