"""E4: what the two noises do to single neurons: kurtosis, correlation, and how much the net relies on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _noises
from bnlens.claims._claim import Claim, Figure, Finding, PaperStatement, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._results import Results, TrainingRuns

_MEASURES = {
    "loss_increase": "loss increase without one neuron",
    "accuracy_drop": "accuracy drop without one neuron",
    "kurtosis": "kurtosis",
    "kurtosis_mean": "mean kurtosis",
    "correlation": "correlation",
}
_CLAIMED = (("loss_increase", "mean"), ("kurtosis", "std"), ("correlation", "std"))


def _together(runs: TrainingRuns, kind: Mapping[str, Any]) -> tuple[list[float], NDArray[np.float64]]:
    """Return shares of neurons ablated together, and accuracy then, (seeds, shares); the intact net's first."""
    results = [run.result["neurons"] for run in runs.select(**kind)]
    shares = [0.0, *(one["share"] for one in results[0]["together"])]
    accuracies = [[result["accuracy"], *(one["accuracy"] for one in result["together"])] for result in results]
    return shares, np.array(accuracies)


def _layers(runs: TrainingRuns, what: str, kind: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return a measure by name of the layer."""
    results = [run.result["neurons"]["layers"] for run in runs.select(**kind)]
    values = np.array([[layer[what] for layer in layers] for layers in results])
    return {layer["layer"]: estimate(of_layer) for layer, of_layer in zip(results[0], values.T, strict=True)}


def _effects(runs: TrainingRuns) -> dict[tuple[str, str], Estimate]:
    """Return effects by measure and noise."""
    kinds = list(_noises.kinds_of(runs).values())
    return {
        (what, effect): estimate(values)
        for what in _MEASURES
        for effect, values in _noises.effects([runs.neurons(what, **kind) for kind in kinds]).items()
    }


def _rows(runs: TrainingRuns, effects: Mapping[tuple[str, str], Estimate]) -> list[dict[str, Any]]:
    over_layers, of_layers = [], []
    for carrier, kind in _noises.kinds_of(runs).items():
        label = _noises.LABELS[carrier]
        row: dict[str, Any] = {"noise of": label, "layer": "(mean over layers)"}
        for what, name in _MEASURES.items():
            row |= estimate(runs.neurons(what, **kind)).columns(name)
        shares, accuracies = _together(runs, kind)
        for share, values in zip(shares, accuracies.T, strict=True):
            row |= estimate(values).columns(f"accuracy without {100 * share:g}% of neurons")
        over_layers.append(row)
        by_measure = {what: _layers(runs, what, kind) for what in _MEASURES}
        for layer in by_measure["kurtosis"]:
            row = {"noise of": label, "layer": layer}
            for what, name in _MEASURES.items():
                row |= by_measure[what][layer].columns(name)
            of_layers.append(row)
    for effect, label in _noises.EFFECTS.items():
        row = {"noise of": f"effect: {label}", "layer": "(mean over layers)"}
        for what, name in _MEASURES.items():
            row |= effects[what, effect].columns(name)
        over_layers.append(row)
    return over_layers + of_layers


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    found = _effects(runs)
    claimed = {key: found[key] for key in _CLAIMED}
    lowers = [effect.negated for effect in claimed.values()]
    weakest = min(lowers, key=lambda effect: effect.in_errors)
    both = _noises.kinds_of(runs)["both"]
    told = ", ".join(
        f"{_MEASURES[what]} by {effect.brief('+.4f')} through the {_noises.EFFECTS[noise]}"
        for (what, noise), effect in claimed.items()
    )
    summary = (
        f"On {runs.data} ({runs.images} images) at $M = {both['M']}$, noise changes {told}. Headline: the weakest of the "
        f"three falls that are claimed, in its standard errors, over {runs.seeds(**both)} paired seeds."
    )
    return finding(_verdict(lowers), Estimate(weakest.in_errors, 1.0), 2.0, summary, _rows(runs, found))


def _verdict(lowers: Sequence[Estimate]) -> Verdict:
    reliance, *shape = lowers
    if all(effect.in_errors >= 2 for effect in lowers):
        return "holds"
    if reliance.in_errors >= 2 and any(effect.in_errors >= 2 for effect in shape):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, add_points, panels

    runs = TrainingRuns(results)
    ablated, shape = (
        ("Without one neuron", "Without several neurons"),
        ("Kurtosis of pre-activations", "Correlation between neurons"),
    )
    ablated_axes = [("layer", "increase of test loss (nats per image)"), ("neurons ablated (%)", "test accuracy (%)")]
    shape_axes = [("layer", "excess kurtosis, median over neurons"), ("layer", "mean absolute correlation")]
    figure = panels([ablated, shape], [ablated_axes, shape_axes], height=760)
    for index, (carrier, kind) in enumerate(_noises.kinds_of(runs).items()):
        look: dict[str, Any] = {"name": _noises.LABELS[carrier], "index": index}
        for panel, what in (((1, 1), "loss_increase"), ((2, 1), "kurtosis"), ((2, 2), "correlation")):
            points = list(_layers(runs, what, kind).values())
            x = [str(number) for number in range(1, len(points) + 1)]
            add_points(figure, x, points, panel=panel, legend=panel == (1, 1), **look)
        shares, accuracies = _together(runs, kind)
        percent = [100 * share for share in shares]
        add_band(figure, 100 * accuracies, x=percent, panel=(1, 2), legend=False, **look)
    return figure


CLAIM = Claim(
    id="E4",
    title="Single neurons with and without each noise",
    statement=(
        "The noise of the batch mean keeps a net from relying on single neurons, and that of the batch standard deviation "
        "lowers the kurtosis of what neurons get and the correlation between them."
    ),
    source="arXiv 1809.00846, reading of the two terms of Theorem 1 and its experiments; nets with BN layers as in E3",
    paper=PaperStatement(
        words=(
            r"The noise of $\mu_B$ keeps a net from relying on single neurons; that of $\sigma_B$ lowers the kurtosis of what"
            " neurons get and, for several neurons, the correlation between them."
        ),
        section="A probabilistic interpretation of BN, reading of Theorem 1",
        known="as remembered",
    ),
    agreement=(
        "Effects of the two noises in a two-by-two comparison, mean over layers, paired by seed: that of the mean on the loss "
        "increase when one neuron is ablated, those of the standard deviation on kurtosis (median over neurons) and on mean "
        "absolute correlation. Holds: all three fall by two standard errors or more. Holds approximately: the loss increase "
        "and one of the others do. Does not hold: otherwise."
    ),
    quantity="standard errors of the weakest of the three falls; the claim is a lower bound",
    core=False,
    jobs=partial(_noises.jobs_of, "E4"),
    judge=_judge,
    figure=_figure,
    parameters=_noises.parameters,
)
