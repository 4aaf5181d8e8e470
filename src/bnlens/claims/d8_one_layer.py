"""D8: the statistics batch size of one BN layer at a time, and what it does to that layer's gamma and to the test loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding, worst
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError
from bnlens.experiments.one_layer import count_layers, train_with_one_layer

_BN_LAYERS = {"cnn": 4, "cnn-fc": 5}  # of the usual nets, so that a plan need not wait for PyTorch
_MEASURES = {"gamma": "γ²", "test_loss": "test loss"}
_parameters = partial(
    plans.parameters_where_bn_helps, M=[4, 16, 64], layers=4, population={"digits": False, "quick": False, "full": True}
)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("D8", setup)
    given = setup.parameters
    sizes, batch = plans.finite_sizes(given["M"]), given["batch_size"]
    if len(sizes) < 2:
        raise UsageError(f"D8: parameter 'M' needs at least two finite sizes for a slope, got {given['M']}")
    if sizes[-1] > batch:
        raise UsageError(
            f"D8: M = {sizes[-1]} is more than a batch of {batch}; lower parameter 'M' or raise 'batch_size'"
        )
    count = _BN_LAYERS.get(given["net"]) or count_layers(given["net"])
    spread = np.linspace(0, count - 1, min(given["layers"], count))
    kinds: dict[tuple[int | None, int | str, int], None] = {}
    held: list[int | str] = [sizes[-1], plans.POPULATION] if given["population"] else [sizes[-1]]
    for others in held:
        for layer in sorted({round(float(position)) for position in spread}):
            kinds |= {(None if others == M else layer, others, M): None for M in sizes}
    return [
        plans.related_job(
            setup,
            seed,
            train_with_one_layer,
            "all-layers" if layer is None else f"layer{layer + 1}-others{others}",
            M=M,
            layer=layer,
            others=others,
            device_batch_size=batch,
        )
        for layer, others, M in kinds
        for seed in plans.seeds_of(setup)
    ]


class _Layer(NamedTuple):
    """A layer whose M varies.

    Attributes:
        number: of the layer, from 0.
        others: M of the other layers.
        sizes: M of this one, ascending.
        values: by measure, (seeds, sizes).
    """

    number: int
    others: int | str
    sizes: Sequence[int]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def slopes(self) -> dict[str, Estimate]:
        """The least-squares slope of each measure over log2 M, per doubling."""
        return {name: estimate(_slopes(self.sizes, values)) for name, values in self.values.items()}


def _slopes(sizes: Sequence[int], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least-squares slope over log2 of the sizes, (seeds,), of values (seeds, sizes)."""
    slopes: NDArray[np.float64] = np.polyfit(np.log2(sizes), values.T, 1)[0]
    return slopes


def _layers(runs: TrainingRuns) -> list[_Layer]:
    """Return the layers, those with others at the largest M first."""
    sizes: list[int] = runs.distinct("M")
    found = []
    for others in runs.distinct("others"):
        for number in (layer for layer in runs.distinct("layer") if layer is not None):
            kinds = [{"M": M, "others": others, "layer": None if others == M else number} for M in sizes]
            gamma = [np.square(runs.values("gamma", **kind)[:, number]) for kind in kinds]
            test = [runs.values("test_loss", **kind) for kind in kinds]
            values = {"gamma": np.stack(gamma, axis=1), "test_loss": np.stack(test, axis=1)}
            found.append(_Layer(number, others, sizes, values))
    return found


def _name(others: int | str) -> str:
    return "others PN" if others == plans.POPULATION else f"others at M = {others}"


def _grade(slopes: Sequence[Estimate]) -> Verdict:
    """Return the verdict on the slopes of the layers, which should all be above zero."""
    rising = sum(slope.in_errors >= 2 for slope in slopes)
    if rising == len(slopes):
        return "holds"
    falls = any(slope.in_errors <= -2 for slope in slopes)
    return "holds approximately" if 2 * rising >= len(slopes) and not falls else "does not hold here"


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    layers = _layers(runs)
    parts = {
        f"{name}, {_name(others)}": _grade([layer.slopes[measure] for layer in layers if layer.others == others])
        for others in dict.fromkeys(layer.others for layer in layers)
        for measure, name in _MEASURES.items()
    }
    judged = [layer for layer in layers if layer.others == layers[0].others]
    verdicts = list(parts.values())[: len(_MEASURES)]
    weakest = min((slope for layer in judged for slope in layer.slopes.values()), key=lambda slope: slope.in_errors)
    told = "; ".join(
        f"{layer.slopes['gamma'].text} and {layer.slopes['test_loss'].text} in layer {layer.number + 1}"
        for layer in judged
    )
    sizes = layers[0].sizes
    summary = (
        f"On {runs.data} ({runs.images} images), M of one layer from {sizes[0]} to {sizes[-1]}, {_name(judged[0].others)}: "
        rf"$\gamma^2$ of the layer and test loss change per doubling of M by {told}. Headline: the weakest of these slopes, "
        f"in its standard errors, over {len({run.config['seed'] for run in runs})} paired seeds."
    )
    rows = [_row(layer, at) for layer in layers for at in range(len(sizes))]
    rows += [_slope_row(layer) for layer in layers]
    return finding(worst(verdicts), Estimate(weakest.in_errors, 1.0), 2.0, summary, rows, parts=parts)


def _row(layer: _Layer, at: int) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.number + 1, "other layers": _name(layer.others), "M": layer.sizes[at]}
    for measure, name in _MEASURES.items():
        row |= estimate(layer.values[measure][:, at]).columns(name)
    return row


def _slope_row(layer: _Layer) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.number + 1, "other layers": _name(layer.others), "M": "(slope per doubling)"}
    for measure, name in _MEASURES.items():
        row |= layer.slopes[measure].columns(name)
    return row


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_points, panels

    layers = _layers(TrainingRuns(results))
    others = list(dict.fromkeys(layer.others for layer in layers))
    M = layers[0].sizes[-1]
    titles = [[f"{label}, {_name(one)}" for label in ("γ² of the layer", "Test loss")] for one in others]
    less = (f"mean γ² less that at M = {M}", f"less that at M = {M} (nats)")
    axes = [[("M of the layer", label) for label in less] for _ in others]
    figure = panels(titles, axes, height=380 * len(others))
    numbers = list(dict.fromkeys(layer.number for layer in layers))
    for layer in layers:
        row = others.index(layer.others) + 1
        look: dict[str, Any] = {"name": f"layer {layer.number + 1}", "index": numbers.index(layer.number)}
        for column, values in enumerate(layer.values.values(), start=1):
            points = [estimate(of_size) for of_size in (values - values[:, -1:]).T]
            add_points(figure, layer.sizes, points, panel=(row, column), legend=row == column == 1, **look)
    figure.update_xaxes(type="log", tickvals=list(layers[0].sizes))
    return figure


CLAIM = Claim(
    id="D8",
    title="One layer at a time",
    statement=(
        r"Where $M$ of one BN layer alone grows, the $\gamma^2$ of that layer and the validation loss grow: the noise of that "
        r"layer's statistics decays its $\gamma$, and regularises. Layer by layer, the others are held at the largest M, whose "
        "noise is the least."
    ),
    source="arXiv 1809.00846, experiments on the batch size of one layer; this library's dial",
    paper=PaperStatement(
        words=r"With $M$ varied in one layer alone, $\gamma^2$ of that layer and the validation loss grow with $M$.",
        section="Experiments in CNNs, on M of one layer",
        known="as remembered",
    ),
    agreement=(
        r"Per layer, least-squares slopes over $\log_2 M$ of the layer's mean $\gamma^2$ and of the test loss (the validation "
        "loss), by seed, the other layers at the largest of the M. Each of the two is a part. A part holds: in all layers "
        "the slope is above zero by two standard errors. Approximately: in half of the layers or more it is, and in none "
        "below zero by two. Holds: both parts do. Holds approximately: neither fails. Does not hold: otherwise. With the "
        "others at population normalization, where that is asked for, the parts are told and do not count."
    ),
    quantity="standard errors of the weakest of the slopes over log M; the claim is a lower bound",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
