"""E8: a trained net trained on with batch normalization folded away: losses and norms, beside the net that keeps BN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._results import Results, TrainingRuns
from bnlens.experiments.folded import train_on_folded

_NETS = {"folded": "BN folded", "kept": "BN kept"}
_MEASURES = {"train_loss": "train loss", "test_loss": "test loss", "norms": "norms"}
# By measure, the part of the claim and the direction that the paper gives.
_CLAIMED = {"train_loss": ("train loss falls", -1), "test_loss": ("test loss rises", 1), "norms": ("norms grow", 1)}
_parameters = partial(
    plans.parameters_where_bn_helps,
    M=8,
    further_epochs={"digits": 10, "quick": 5, "full": 20},
    further_rates={"digits": [0.1, 0.03], "quick": [0.03, 0.01], "full": [0.03, 0.01, 0.003]},
)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E8", setup)
    given = setup.parameters
    epochs, batch = given["further_epochs"], given["batch_size"]
    rates = sorted({plans.learning_rate(rate, batch) for rate in given["further_rates"]}, reverse=True)
    own = {"further_epochs": epochs, "further_rates": rates}
    cost = 1 + 3 * len(rates) * epochs / given["epochs"]
    return [
        plans.related_job(setup, seed, train_on_folded, "folded", M=given["M"], cost=cost, **own)
        for seed in plans.seeds_of(setup)
    ]


class _Rate:
    """The runs at one rate, seeds in order.

    Attributes:
        lr: learning rate.
        diverged: number of seeds in which training diverges, by net.
    """

    def __init__(self, runs: TrainingRuns, index: int) -> None:
        found = [run.result["further"][index] for run in runs]
        self.lr: float = found[0]["lr"]
        self._curves = {net: [one[net]["curve"] for one in found] for net in _NETS}
        self.diverged = {net: sum(one[net]["diverged"] for one in found) for net in _NETS}

    def curves(self, net: str, measure: str) -> NDArray[np.float64]:
        """Return a measure from the folding on, (seeds, epochs + 1), as far as all seeds go.

        ``"norms"`` is the growth: root mean square over the weights of norm over norm at the folding, less 1.
        """
        epochs = min(map(len, self._curves[net]))
        curves = [curve[:epochs] for curve in self._curves[net]]
        if measure != "norms":
            return np.array([[epoch[measure] for epoch in curve] for curve in curves], dtype=np.float64)
        norms = np.array([[epoch["weight_norm"] for epoch in curve] for curve in curves], dtype=np.float64)
        growth: NDArray[np.float64] = np.sqrt(np.square(norms / norms[:, :1]).mean(-1)) - 1
        return growth

    def changes(self, net: str, measure: str) -> NDArray[np.float64]:
        """Return how far a measure goes from the folding to the end, (seeds,)."""
        curves = self.curves(net, measure)
        changes: NDArray[np.float64] = curves[:, -1] - curves[:, 0]
        return changes

    def rows(self, judged: bool) -> list[dict[str, Any]]:
        found = {
            net: {measure: self.changes(net, measure) for measure in _MEASURES}
            for net in _NETS
            if not self.diverged[net]
        }
        labels = dict(_NETS)
        if len(found) == len(_NETS):
            found["less"] = {measure: found["folded"][measure] - found["kept"][measure] for measure in _MEASURES}
            labels["less"] = "folded less kept"
        rows = []
        for net, label in labels.items():
            row: dict[str, Any] = {"lr": self.lr, "judged": "yes" if judged else "no", "net": label}
            row |= {"seeds that diverge": self.diverged[net]} if net in self.diverged else {}
            for measure, name in _MEASURES.items():
                if net in found:
                    row |= estimate(found[net][measure]).columns(f"change of {name}")
            rows.append(row)
        return rows


def _rates(runs: TrainingRuns) -> tuple[list[_Rate], _Rate | None]:
    """Return all rates, descending, and the largest at which no net diverges."""
    count = len(next(iter(runs)).result["further"])
    rates = [_Rate(runs, index) for index in range(count)]
    return rates, next((rate for rate in rates if not any(rate.diverged.values())), None)


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    rates, judged = _rates(runs)
    rows = [row for rate in rates for row in rate.rows(rate is judged)]
    config = next(iter(runs)).config
    where = f"On {runs.data} ({runs.images} images), trained at $M = {config['statistics_batch_size']}$"
    if judged is None:
        diverged = max(rates[-1].diverged.values())
        summary = f"{where}: at the smallest rate, {rates[-1].lr:g}, a net diverges in {diverged} of {len(runs)} seeds."
        return finding("premise not met", Estimate(math.nan, math.nan), 2.0, summary, rows)
    found = {measure: estimate(judged.changes("folded", measure)) for measure in _MEASURES}
    control = {measure: estimate(judged.changes("kept", measure)) for measure in _MEASURES}
    claimed = {
        part: Estimate(sign * found[measure].value, found[measure].stderr) for measure, (part, sign) in _CLAIMED.items()
    }
    weakest = min(claimed.values(), key=lambda change: change.in_errors)
    told = ", ".join(
        f"{name} by {found[measure].brief('+.4f')}, with BN kept {control[measure].brief('+.4f')}"
        for measure, name in _MEASURES.items()
    )
    start = [judged.curves("folded", loss)[:, 0].mean() for loss in ("train_loss", "test_loss")]
    off = max(run.result["difference"] for run in runs)
    summary = (
        f"{where}, folding changes logits by {off:.0e} of their size, at a train / test loss of {start[0]:.3g} / "
        f"{start[1]:.3g}. {config['further_epochs']} epochs at lr {judged.lr:g} with BN folded change {told}; norms as a "
        f"share. Headline: the weakest of the three changes as claimed, in its standard errors, over {len(runs)} paired seeds."
    )
    parts: dict[str, Verdict] = {
        part: "holds" if change.in_errors >= 2 else "does not hold here" for part, change in claimed.items()
    }
    return finding(_verdict(parts), Estimate(weakest.in_errors, 1.0), 2.0, summary, rows, parts=parts)


def _verdict(parts: Mapping[str, Verdict]) -> Verdict:
    holding = sum(verdict == "holds" for verdict in parts.values())
    if holding == len(parts):
        return "holds"
    rises, _ = _CLAIMED["test_loss"]
    return "holds approximately" if parts[rises] == "holds" and holding > 1 else "does not hold here"


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, panels

    rates, judged = _rates(TrainingRuns(results))
    rate = judged or rates[-1]
    titles = [f"{name.capitalize()}, lr {rate.lr:g}" for name in _MEASURES.values()]
    axes = [("epochs after the folding", what) for what in ("nats per image", "nats per image", "growth (%)")]
    figure = panels([titles], [axes], height=440)
    for index, (net, label) in enumerate(_NETS.items()):
        for column, measure in enumerate(_MEASURES, start=1):
            curves = rate.curves(net, measure) * (100 if measure == "norms" else 1)
            look: dict[str, Any] = {"name": label, "index": index, "legend": column == 1}
            add_band(figure, curves, x=range(curves.shape[1]), panel=(1, column), **look)
    return figure


CLAIM = Claim(
    id="E8",
    title="Batch normalization folded away",
    statement=(
        "A net trained with BN loses its regularisation when BN is folded into the weights: trained on at a constant small "
        "rate, its train loss falls, its validation loss rises and the norms of its weights grow. Beside it the same net "
        "trains on with BN kept, on the same batches."
    ),
    source="arXiv 1809.00846, experiments with BN folded into the weights",
    paper=PaperStatement(
        words="With BN folded into the weights and trained on, train loss falls, validation loss rises, and norms grow.",
        section="Experiments in CNNs, on BN folded away",
        known="as remembered",
    ),
    agreement=(
        "Further SGD at a constant rate, without weight decay, is judged at the largest given rate at which neither net "
        "diverges in any seed: all losses are finite, and no epoch's mean loss as trained is above chance. With BN folded, "
        "from the folding to the end, paired by seed: the train loss falls, the test loss (the validation loss) rises, and "
        "the norms grow (root mean square of their ratio over the weights before the last), each by two standard errors. "
        "Holds: all three parts do. Holds approximately: the rise of the test loss and one other do. Does not hold: "
        "otherwise. The net with BN kept is no part of the rule. Premise not met: at every rate given a net diverges in some "
        "seed."
    ),
    quantity="standard errors of the weakest of the three changes; the claim is a lower bound",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
