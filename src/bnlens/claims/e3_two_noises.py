"""E3: the noise of the batch mean alone, and that of the batch standard deviation alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bnlens.claims import _noises
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding, share_of_distance
from bnlens.claims._losses import MEASURES, difference, losses_of
from bnlens.claims._results import Results, TrainingRuns

__all__ = ["CLAIM"]


def _jobs(setup: Setup) -> Sequence[Job]:
    return _noises.jobs_of("E3", setup)


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    kinds = _noises.kinds_of(runs)
    none = kinds["none"]
    noisy = [carrier for carrier in kinds if carrier != "none"]
    changes = {(name, what): difference(runs, what, kinds[name], none) for name in noisy for what in MEASURES}
    values = {what: [runs.values(what, **kind) for kind in kinds.values()] for what in MEASURES}
    effects = {what: _noises.effects(values[what]) for what in MEASURES}
    both, mean, std, pn = values["train_loss"]
    share = share_of_distance(mean + std - 2 * pn, both - pn)
    rows = []
    for name, kind in kinds.items():
        row = {"noise of": _noises.LABELS[name], "M": kind["M"], **losses_of(runs, **kind).columns}
        for what, measure in MEASURES.items():
            if name in noisy:
                row |= changes[name, what].columns(f"{measure} less PN's")
        rows.append(row)
    for effect, label in _noises.EFFECTS.items():
        row = {"noise of": f"effect: {label}"}
        for what, measure in MEASURES.items():
            row |= estimate(effects[what][effect]).columns(measure)
        rows.append(row)
    told = "; ".join(
        f"{_noises.LABELS[name]}: {changes[name, 'train_loss'].value:+.3f} train, {changes[name, 'test_loss'].value:+.3f} test"
        for name in ("mean", "std", "both")
    )
    train, test = ([changes[name, what] for name in ("mean", "std")] for what in ("train_loss", "test_loss"))
    summary = (
        f"On {runs.data} ({runs.images} images) at M = {kinds['both']['M']}, loss less that of PN, by what carries noise: "
        f"{told}. Headline: the train loss that the two add alone, summed, over what they add together; "
        f"{runs.seeds(**none)} paired seeds."
    )
    return finding(_verdict(train, test, estimate(effects["train_loss"]["interaction"])), share, 1.0, summary, rows)


def _verdict(train: Sequence[Estimate], test: Sequence[Estimate], interaction: Estimate) -> Verdict:
    raises = all(change.in_errors >= 2 for change in train)
    if raises and all(change.in_errors <= -2 for change in test) and abs(interaction.in_errors) <= 2:
        return "holds"
    if raises and all(change.value < 0 for change in test):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, panels

    runs = TrainingRuns(results)
    kinds = _noises.kinds_of(runs)
    M = kinds["both"]["M"]
    axes = [("epoch", "loss of the steps (nats per image)"), ("epoch", "test loss (nats per image)")]
    figure = panels([[f"Training, M = {M}", f"Test, M = {M}"]], [axes], height=460)
    for index, (name, kind) in enumerate(kinds.items()):
        for column, what in ((1, "steps_loss"), (2, "test_loss")):
            look: dict[str, Any] = {"name": _noises.LABELS[name], "index": index, "legend": column == 1}
            add_band(figure, runs.curves(what, **kind), panel=(1, column), **look)
    return figure


CLAIM = Claim(
    id="E3",
    title="Two noises: of the batch mean and of the batch standard deviation",
    statement=(
        "The paper claims that BN regularises by the noise of both batch statistics, one term for each. A net in which one "
        "statistic alone is the batch's, the other the population's, is regularised by that one, and the two add up."
    ),
    source="arXiv 1809.00846, Theorem 1 and the experiments on its two terms; theory sheet A.2",
    paper=PaperStatement(
        words=(
            "In a net with weight normalization the noise of mu_B alone, and that of sigma_B alone, lower the "
            "validation loss."
        ),
        section="Experiments in CNNs, on mu_B and sigma_B",
        known="as remembered",
        differs=(
            "nets with BN layers stand for weight normalization, and that the two effects add up is our conclusion "
            "from Theorem 1."
        ),
    ),
    agreement=(
        "Losses against PN, paired by seed. Holds: each noise alone raises the train loss and lowers the test loss by two "
        "standard errors or more, and in train loss the two add up (interaction within two standard errors of zero). Holds "
        "approximately: each raises the train loss by two standard errors, and lowers the test loss. Does not hold: otherwise."
    ),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_noises.parameters,
)
