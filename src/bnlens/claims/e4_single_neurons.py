"""E4: what the two noises do to single neurons: kurtosis, correlation, and how much the net relies on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnlens.claims import _noises
from bnlens.claims._claim import Claim, Finding, Job, Setup, Verdict
from bnlens.claims._network_runs import NetworkRuns
from bnlens.claims._paired import Estimate, estimate

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]

_RELIANCE, _KURTOSIS, _CORRELATION = "loss increase without one neuron", "kurtosis", "correlation"
_MEASURES = {
    _RELIANCE: "loss_increase",
    "accuracy drop without one neuron": "accuracy_drop",
    _KURTOSIS: "kurtosis",
    "mean kurtosis": "kurtosis_mean",
    _CORRELATION: "correlation",
}
_MEAN, _STD, _ = _noises.EFFECTS
_CLAIMED = ((_RELIANCE, _MEAN), (_KURTOSIS, _STD), (_CORRELATION, _STD))


def _jobs(setup: Setup) -> Sequence[Job]:
    return _noises.jobs_of("E4", setup)


def _together(runs: NetworkRuns, what: str, kind: Mapping[str, Any]) -> tuple[list[float], Any]:
    """Shares of neurons ablated together, and loss or accuracy then, (seeds, shares); the intact net's first."""
    results = [result["neurons"] for result in runs.select(**kind)]
    shares = [0.0, *(one["share"] for one in results[0]["together"])]
    return shares, np.array([[result[what], *(one[what] for one in result["together"])] for result in results])


def _effects(runs: NetworkRuns) -> dict[tuple[str, str], Estimate]:
    kinds = list(_noises.kinds_of(runs).values())
    found = {}
    for name, what in _MEASURES.items():
        for effect, values in _noises.effects([runs.neurons(what, **kind) for kind in kinds]).items():
            found[name, effect] = estimate(values)
    return found


def _rows(runs: NetworkRuns) -> list[dict[str, Any]]:
    rows = []
    for label, kind in _noises.kinds_of(runs).items():
        row: dict[str, Any] = {"noise of": label, "layer": "(mean over layers)"}
        for name, what in _MEASURES.items():
            row |= estimate(runs.neurons(what, **kind)).columns(name)
        shares, accuracies = _together(runs, "accuracy", kind)
        for share, values in zip(shares, accuracies.T, strict=True):
            row |= estimate(values).columns(f"accuracy without {100 * share:g}% of neurons")
        rows.append(row)
    for effect in _noises.EFFECTS:
        row = {"noise of": f"effect: {effect}", "layer": "(mean over layers)"}
        for name in _MEASURES:
            row |= _effects(runs)[name, effect].columns(name)
        rows.append(row)
    for label, kind in _noises.kinds_of(runs).items():
        results = [result["neurons"]["layers"] for result in runs.select(**kind)]
        for index, layer in enumerate(results[0]):
            row = {"noise of": label, "layer": layer["layer"]}
            for name, what in _MEASURES.items():
                row |= estimate(np.array([layers[index][what] for layers in results])).columns(name)
            rows.append(row)
    return rows


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = NetworkRuns(results)
    found = _effects(runs)
    lowers = [Estimate(-found[key].value, found[key].stderr) for key in _CLAIMED]
    weakest = min(lowers, key=lambda effect: effect.in_errors)
    both = next(iter(_noises.kinds_of(runs).values()))
    told = ", ".join(
        f"{name} by {found[name, effect].value:+.4f}({found[name, effect].stderr:.4f}) through the {effect}"
        for name, effect in _CLAIMED
    )
    return Finding(
        verdict=_verdict(lowers),
        measured=weakest.in_errors,
        predicted=2.0,
        stderr=1.0,
        summary=(
            f"On {runs.data} ({runs.images} images) at M = {both['M']}, noise changes {told}. Headline: the weakest of the "
            f"three falls that are claimed, in its standard errors, over {runs.seeds(**both)} paired seeds."
        ),
        rows=_rows(runs),
    )


def _verdict(lowers: Sequence[Estimate]) -> Verdict:
    reliance, *shape = lowers
    if all(effect.in_errors >= 2 for effect in lowers):
        return "holds"
    if reliance.in_errors >= 2 and any(effect.in_errors >= 2 for effect in shape):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.claims._curves import add_band, add_points, panels

    runs = NetworkRuns(results)
    kinds = _noises.kinds_of(runs)
    figure = panels(
        [
            ["Without one neuron", "Without several neurons"],
            ["Kurtosis of pre-activations", "Correlation between neurons"],
        ],
        [
            [("layer", "increase of test loss (nats per image)"), ("neurons ablated (%)", "test accuracy (%)")],
            [("layer", "excess kurtosis, median over neurons"), ("layer", "mean absolute correlation")],
        ],
        height=760,
    )
    for index, (label, kind) in enumerate(kinds.items()):
        layers = [result["neurons"]["layers"] for result in runs.select(**kind)]
        x = [str(number) for number in range(1, len(layers[0]) + 1)]
        for panel, what in (((1, 1), "loss_increase"), ((2, 1), "kurtosis"), ((2, 2), "correlation")):
            values = np.array([[layer[what] for layer in one] for one in layers])
            points = [estimate(column) for column in values.T]
            add_points(figure, x, points, name=label, index=index, panel=panel, legend=panel == (1, 1))
        shares, accuracies = _together(runs, "accuracy", kind)
        add_band(
            figure,
            [100 * share for share in shares],
            100 * accuracies,
            name=label,
            index=index,
            panel=(1, 2),
            legend=False,
        )
    return figure


CLAIM = Claim(
    id="E4",
    title="Single neurons with and without each noise",
    statement=(
        "The paper claims that the noise of the batch mean keeps a net from relying on single neurons, and that the noise of "
        "the batch standard deviation lowers the kurtosis of what neurons get and the correlation between them."
    ),
    source="arXiv 1809.00846, reading of the two terms of Theorem 1 and its experiments; the nets are those of E3",
    agreement=(
        "Effects of the two noises in a two-by-two comparison, mean over layers, paired by seed: that of the mean on the loss "
        "increase when one neuron is ablated, those of the standard deviation on kurtosis (median over neurons) and on mean "
        "absolute correlation. Holds: all three fall by two standard errors or more. Holds approximately: the loss increase "
        "and one of the others do. Does not hold: otherwise."
    ),
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_noises.parameters,
)
