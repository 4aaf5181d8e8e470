"""E3: the noise of the batch mean alone, and that of the batch standard deviation alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnlens.claims import _noises, _weight_norm
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._losses import MEASURES, Kind, difference, losses_of, sizes_of
from bnlens.claims._results import Results, TrainingRuns

__all__ = ["CLAIM"]


def _jobs(setup: Setup) -> Sequence[Job]:
    kinds = _weight_norm.kinds_of(setup.parameters["M"]).values()
    return [*_weight_norm.jobs_of("E3", setup, list(kinds)), *_noises.jobs_of("E3", setup)]


class _Noise(NamedTuple):
    """The noise that some statistic carries in a kind of run, and what it changes against the same net without noise."""

    net: str
    label: str
    kind: Kind
    without: Kind

    def change(self, runs: TrainingRuns, what: str) -> Estimate:
        """The entry of the results less that without noise, paired by seed."""
        return difference(runs, what, self.kind, self.without)


def _noises_of(runs: TrainingRuns) -> dict[str, dict[str, _Noise]]:
    """Return, by net and by what carries noise, the kinds of run: of weight normalization, and of BN layers."""
    wn, bn = _weight_norm.kinds_of(sizes_of(runs)[0]), _noises.kinds_of(runs)
    nets = (("WN", _weight_norm.LABELS, wn), ("BN layers", _noises.LABELS, bn))
    return {
        net: {noise: _Noise(net, labels[noise], kind, kinds["none"]) for noise, kind in kinds.items()}
        for net, labels, kinds in nets
    }


def _parts(
    premise: Estimate, wn: Mapping[str, Estimate], bn: Mapping[str, Sequence[Estimate]], interaction: Estimate
) -> dict[str, Verdict]:
    """Return the verdict on each part.

    Args:
        premise: test loss of BN over M less that of PN.
        wn: by noise, the change of the test loss with weight normalization.
        bn: by noise, the changes of train and test loss with BN layers.
        interaction: of the two noises in train loss, with BN layers.
    """
    parts: dict[str, Verdict] = {
        f"WN, {_noises.EFFECTS[noise]}": _weight_norm.judge_fall(change) for noise, change in wn.items()
    }
    for noise, (train, test) in bn.items():
        fall: Verdict = (
            "holds" if test.in_errors <= -2 else "holds approximately" if test.value < 0 else "does not hold here"
        )
        parts[f"BN layers, {_noises.EFFECTS[noise]}"] = fall if train.in_errors >= 2 else "does not hold here"
    parts["BN layers, the two add up"] = "holds" if abs(interaction.in_errors) <= 2 else "does not hold here"
    return parts if premise.in_errors <= -2 else dict.fromkeys(parts, "premise not met")


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    nets = _noises_of(runs)
    wn, bn = nets.values()
    alone = ("mean", "std")
    train, test = ({noise: bn[noise].change(runs, what) for noise in bn} for what in ("train_loss", "test_loss"))
    of_wn = {noise: wn[noise].change(runs, "test_loss") for noise in alone}
    of_bn = {noise: (train[noise], test[noise]) for noise in alone}
    effects = {what: _noises.effects([runs.values(what, **noise.kind) for noise in bn.values()]) for what in MEASURES}
    parts = _parts(test["both"], of_wn, of_bn, estimate(effects["train_loss"]["interaction"]))
    rows = [_row(runs, noise) for net in nets.values() for noise in net.values()]
    for effect, label in _noises.EFFECTS.items():
        row: dict[str, Any] = {"net": "BN layers", "noise of": f"effect: {label}"}
        for what, measure in MEASURES.items():
            row |= estimate(effects[what][effect]).columns(measure)
        rows.append(row)
    M, weakest = bn["both"].kind["M"], max(change.in_errors for change in of_wn.values())
    told = "; ".join(
        f"{_weight_norm.LABELS[noise]} {change.value:+.3f}({change.stderr:.3f})" for noise, change in of_wn.items()
    )
    beside = "; ".join(
        f"{bn[noise].label} {train[noise].value:+.3f} train, {test[noise].value:+.3f}({test[noise].stderr:.3f}) test"
        for noise in ("both", *alone)
    )
    summary = (
        f"On {runs.data} ({runs.images} images) at $M = {M}$, test loss less that of WN alone, "
        f"{losses_of(runs, **wn['none'].kind).test_loss.text}: {told}. With BN layers, loss less that of PN: {beside}. "
        f"Headline: the weaker of the two falls with WN, in its standard errors; {runs.seeds(**wn['none'].kind)} paired seeds."
    )
    verdict = _weight_norm.of_parts(list(parts.values())[: len(of_wn)])
    return finding(verdict, Estimate(-weakest, 1.0), 2.0, summary, rows, parts=parts)


def _row(runs: TrainingRuns, noise: _Noise) -> dict[str, Any]:
    row: dict[str, Any] = {
        "net": noise.net,
        "noise of": noise.label,
        "M": noise.kind["M"],
        **losses_of(runs, **noise.kind).columns,
    }
    if noise.kind != noise.without:
        for what, measure in MEASURES.items():
            row |= noise.change(runs, what).columns(f"{measure} less that without noise")
    return row


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, panels

    runs = TrainingRuns(results)
    nets = _noises_of(runs)
    axes = [("epoch", "loss of the steps (nats per image)"), ("epoch", "test loss (nats per image)")]
    titles = [[f"{net}, M = {sizes_of(runs)[0]}: training", f"{net}: test"] for net in nets]
    figure = panels(titles, [axes] * len(nets), height=760)
    order = list(_noises.LABELS)
    for row, net in enumerate(nets.values(), start=1):
        for carrier, noise in net.items():
            for column, what in ((1, "steps_loss"), (2, "test_loss")):
                look: dict[str, Any] = {"name": noise.label, "index": order.index(carrier), "legend": column == 1}
                add_band(figure, runs.curves(what, **noise.kind), panel=(row, column), **look)
    return figure


CLAIM = Claim(
    id="E3",
    title="Two noises: of the batch mean and of the batch standard deviation",
    statement=(
        "In a net with weight normalization (WN) the noise of the batch mean alone (mean-only BN), and that of the batch "
        "standard deviation alone (variance-only BN), lower the test loss. Beside it, in a net with BN layers each noise alone "
        "regularises against population normalization, and the two add up."
    ),
    source="arXiv 1809.00846, Theorem 1 and the experiments on its two terms; theory sheet A.2",
    paper=PaperStatement(
        words=(
            r"In a net with weight normalization the noise of $\mu_B$ alone, and that of $\sigma_B$ alone, lower the "
            "validation loss."
        ),
        section="Experiments in CNNs, on the two noises",
        known="as remembered",
        differs="the parts on BN layers, and that the two effects add up, are our conclusions from Theorem 1.",
    ),
    agreement=(
        "Losses paired by seed. Premise not met: BN over M does not lower the test loss below that of PN, BN without noise, by "
        "two standard errors, so that there is no regularisation to be had. Each part with WN, against WN alone: holds where "
        "the test loss falls by two standard errors or more, approximately by one. Holds: both parts do; holds approximately: "
        "neither fails. Does not hold: otherwise. The parts on BN layers, ours, do not count: each noise raises the train loss "
        "and lowers the test loss of PN by two standard errors (approximately: the test loss at all), and the interaction in "
        "train loss is within two standard errors of zero."
    ),
    quantity="standard errors of the weaker of the two falls in test loss; the claim is a lower bound",
    works=("salimans2016weight",),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_weight_norm.parameters,
)
