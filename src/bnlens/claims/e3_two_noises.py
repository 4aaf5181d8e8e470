"""E3: the noise of the batch mean alone, and that of the batch standard deviation alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from bnlens.claims import _noises, _weight_norm
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding, worst
from bnlens.claims._losses import LOSSES, MEASURES, Kind, difference, differences, grade_change, losses_of, sizes_of
from bnlens.claims._results import Results, TrainingRuns

_COUNT = ("mean", "std")  # noises whose parts with weight normalization make the verdict


def _jobs(setup: Setup) -> Sequence[Job]:
    kinds = _weight_norm.kinds_of(setup.parameters["M"]).values()
    return [*_weight_norm.jobs_of("E3", setup, list(kinds)), *_noises.jobs_of("E3", setup)]


class _Noise(NamedTuple):
    """The noise that some statistic carries in a kind of run, and what it changes against the same net without noise."""

    net: str
    label: str
    kind: Kind
    without: Kind

    @property
    def is_noisy(self) -> bool:
        return self.kind != self.without

    def change(self, runs: TrainingRuns, what: str) -> Estimate:
        """The entry of the results less that without noise, paired by seed."""
        return difference(runs, what, self.kind, self.without)

    def told(self, runs: TrainingRuns) -> str:
        """The changes of train and test loss."""
        train, test = (self.change(runs, what) for what in LOSSES)
        return f"{self.label} {train.value:+.3f} / {test.brief('+.3f')}"


_Net: TypeAlias = Mapping[str, _Noise]


def _noises_of(runs: TrainingRuns) -> dict[str, _Net]:
    """Return, by net and by what carries noise, the kinds of run: of weight normalization, and of BN layers."""
    wn, bn = _weight_norm.kinds_of(sizes_of(runs)[0]), _noises.kinds_of(runs)
    nets = (("WN", _weight_norm.LABELS, wn), ("BN layers", _noises.LABELS, bn))
    return {
        net: {noise: _Noise(net, labels[noise], kind, kinds["none"]) for noise, kind in kinds.items()}
        for net, labels, kinds in nets
    }


def _parts(runs: TrainingRuns, wn: _Net, bn: _Net, interaction: Estimate) -> dict[str, Verdict]:
    """Return the verdict on each part, those that count first.

    Args:
        runs: all of them.
        wn: nets with weight normalization.
        bn: nets with BN layers.
        interaction: of the two noises in train loss, with BN layers.
    """
    parts: dict[str, Verdict] = {}
    for noise in _COUNT:
        parts[f"WN, {_noises.EFFECTS[noise]}"] = grade_change(wn[noise].change(runs, "test_loss").negated)
    for noise in _COUNT:
        train, test = (bn[noise].change(runs, what) for what in LOSSES)
        found: Verdict = "does not hold here"
        if train.in_errors >= 2 and test.value < 0:
            found = "holds" if test.in_errors <= -2 else "holds approximately"
        parts[f"BN layers, {_noises.EFFECTS[noise]}"] = found
    parts["BN layers, the two add up"] = "holds" if abs(interaction.in_errors) <= 2 else "does not hold here"
    regularises = bn["both"].change(runs, "test_loss").in_errors <= -2
    return parts if regularises else dict.fromkeys(parts, "premise not met")


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    nets = _noises_of(runs)
    wn, bn = nets.values()
    effects = {what: _noises.effects([runs.values(what, **noise.kind) for noise in bn.values()]) for what in MEASURES}
    parts = _parts(runs, wn, bn, estimate(effects["train_loss"]["interaction"]))
    rows = [_row(runs, noise) for net in nets.values() for noise in net.values()]
    for effect, label in _noises.EFFECTS.items():
        row: dict[str, Any] = {"net": "BN layers", "noise of": f"effect: {label}"}
        for what, measure in MEASURES.items():
            row |= estimate(effects[what][effect]).columns(measure)
        rows.append(row)
    weakest = min(-wn[noise].change(runs, "test_loss").in_errors for noise in _COUNT)
    told, beside = ("; ".join(noise.told(runs) for noise in net.values() if noise.is_noisy) for net in nets.values())
    plain = losses_of(runs, **wn["none"].kind)
    summary = (
        f"On {runs.data} ({runs.images} images) at $M = {bn['both'].kind['M']}$, train / test loss less that of WN alone, "
        f"{plain.train_loss.value:.3f} / {plain.test_loss.value:.3f}: {told}. With BN layers, less that of PN: {beside}. "
        f"Headline: the weaker of the two falls of test loss with WN, in its standard errors; {plain.seeds} paired seeds."
    )
    verdict = worst(list(parts.values())[: len(_COUNT)])
    return finding(verdict, Estimate(weakest, 1.0), 2.0, summary, rows, parts=parts)


def _row(runs: TrainingRuns, noise: _Noise) -> dict[str, Any]:
    row: dict[str, Any] = {
        "net": noise.net,
        "noise of": noise.label,
        "M": noise.kind["M"],
        **losses_of(runs, **noise.kind).columns,
    }
    if noise.is_noisy:
        row |= differences(runs, noise.kind, noise.without, "less that without noise")
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
    figure.update_yaxes(type="log")
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
