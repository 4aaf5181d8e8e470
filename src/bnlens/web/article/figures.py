"""The figures of the article: for each its knobs, and from their values to a drawing with its caption."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from bnlens.render import Html, number
from bnlens.web.article.drawing import WIDTH, Drawing, Mark, Panel, Scale, patches

__all__ = ["CELL", "STATES", "Figure", "Knob", "figures", "states"]

STATES = Path(__file__).with_name("states.json")

CELL = 10
"""Pixels of a picture of a digit, its margin included."""


_UNITS = {
    "softplus_glm": "softplus (the paper's)",
    "linear": "linear",
    "relu": "ReLU",
    "logistic": "logistic",
    "poisson": "Poisson",
}
_PLACES = {
    (False, "gaussian"): "away from it, Gaussian",
    (False, "laplace"): "away from it, heavy tails",
    (False, "exponential"): "away from it, skewed",
    (True, "gaussian"): "at the optimum, Gaussian",
    (True, "laplace"): "at the optimum, heavy tails",
    (True, "exponential"): "at the optimum, skewed",
}
_NETS = {"cnn": "4-conv net", "resnet": "residual net"}
_RATIOS = {
    "own noise": "Gap under the noise assumed",
    "optimum": "Gap of a unit at its optimum",
    "away": "Gap of a unit away from it",
    "shrink": "Shrink of γ at the optimum",
    "networks": "Gap of trained networks",
    "layers": "Gap of their layers, one by one",
    "largest rate": "Largest learning rate, at least",
    "effective rate": "Effective learning rate, at least",
    "100 epochs": "Error after 100 epochs",
    "end": "Error at the end of training",
}
_SYSTEMS = {"weight_norm": "plain", "gamma_decay": "paper", "batch_norm": "batch"}
_STUDENTS = {"SGD": "plain", "decay": "paper", "BN": "batch"}


@lru_cache(maxsize=1)
def states() -> dict[str, Any]:
    """Return what `bnlens.web.article.compute` has computed."""
    found: dict[str, Any] = json.loads(STATES.read_text(encoding="utf-8"))
    return found


class Knob(NamedTuple):
    """A part of a figure that a reader may turn: a slider over numbers or a list of names.

    Attributes:
        id: in the page.
        label: in front of it.
        choices: labels of its values, by value.
        start: place of the value that the page opens with.
    """

    id: str
    label: str
    choices: Mapping[Any, str]
    start: int = 0

    @property
    def slides(self) -> bool:
        """Whether it is a slider."""
        return all(isinstance(value, int) for value in self.choices)


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        id: in the page.
        label: what is drawn, for those who do not see it.
        key: pairs of look and meaning.
        draw: from a value of each knob to the drawing.
        knobs: at most two.
    """

    id: str
    label: str
    key: Mapping[str, str]
    draw: Callable[..., Drawing]
    knobs: Sequence[Knob] = ()

    @cached_property
    def drawings(self) -> list[Drawing]:
        """All states, the values of the last knob changing first."""
        return [self.draw(*values) for values in product(*(knob.choices for knob in self.knobs))]

    @cached_property
    def start(self) -> Drawing:
        """The state that the page opens with."""
        return self.draw(*(list(knob.choices)[knob.start] for knob in self.knobs))

    @cached_property
    def svg(self) -> Html:
        """That state as a picture."""
        return self.start.svg(self.label)

    @cached_property
    def data(self) -> Html:
        """The other states as JSON, safe inside a script element."""
        return Html(
            json.dumps(patches(self.drawings), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        )


def _sizes(values: Sequence[int]) -> dict[int, str]:
    return {value: str(value) for value in values}


def _one(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def _ratios() -> Drawing:
    rows, found = 25, states()["ratios"]
    bottom = 30 + rows * len(_RATIOS)
    panel = Panel(Scale(0.03, 2.5, 218, WIDTH - 12, log=True), Scale(len(_RATIOS), 0, bottom, 24))
    ticks = {0.03: "0.03", 0.1: "0.1", 0.3: "0.3", 1: "1", 2: "2"}
    marks = [
        panel.note(text, panel.x(value), bottom + 16, look="tick", anchor="middle") for value, text in ticks.items()
    ]
    marks.append(panel.note("right", panel.x(1), 15, anchor="middle", look="tick"))
    marks.append(panel.upright(1, "plain"))
    for row, (name, text) in enumerate(_RATIOS.items()):
        low, high = found[name]
        look = "law" if low >= 0.9 and high <= 1.1 else "paper"
        marks.append(panel.note(text, 0, panel.y(row + 0.5) + 4))
        marks.append(panel.line([low, high], [row + 0.5] * 2, f"{look} thick round"))
    return Drawing(bottom + 24, marks)


def _noise(M: int, batch: int) -> Drawing:
    found, at = states()["noise"], WIDTH - 10
    state = _one(found["states"], M=M)
    mean, std, before, after = state["batches"][batch - 1]
    columns, rows = (8 if M > 16 else 4 if M > 4 else 2), (8 if M > 32 else 4 if M > 8 else 2)
    box = f"0 {8 * CELL * (batch - 1)} {CELL * columns} {CELL * rows}"
    place = {"x": "0", "y": "24", "width": "150", "height": f"{150 * rows / columns:g}", "viewBox": box}
    height = 8 * CELL * len(state["batches"])
    picture = f'<image href="data:image/png;base64,{found["images"]}" width="{8 * CELL}" height="{height}"/>'
    marks = [Mark("svg", {"class": "images", **place, "aria-hidden": "true"}, Html(picture))]
    marks.append(Panel.note(f"a batch of {M} pictures", 0, 12))
    cloud = Panel(Scale(-1.5, 1.5, 222, at), Scale(0.1, 1.7, 172, 22))
    spread = [(math.cos(t / 30 * math.pi), math.sin(t / 30 * math.pi)) for t in range(61)]
    around = [
        [2 * side * sd for side in sides] for sd, sides in zip(state["spread"], zip(*spread, strict=True), strict=True)
    ]
    marks += cloud.axes(
        {-1: "−1", 0: "0", 1: "1"}, {0.5: "0.5", 1: "1", 1.5: "1.5"}, "mean of the batch", "its deviation"
    )
    marks.append(cloud.dots(state["cloud"][0], state["cloud"][1], "plain tiny"))
    marks.append(cloud.line(around[0], [1 + one for one in around[1]], "paper"))
    marks.append(cloud.dots([mean], [std], "batch large"))
    gap = Panel(Scale(3.5, 73, 50, at, log=True), Scale(0.004, 0.4, 316, 236, log=True))
    rows = found["states"]
    sizes, gaps = [row["M"] for row in rows], [row["gap"] for row in rows]
    marks += gap.axes(
        {size: str(size) for size in sizes},
        {0.01: "0.01", 0.1: "0.1"},
        "statistics batch size M",
        "rise of the loss, nats",
    )
    marks.append(gap.line(sizes, [row["two_term"] for row in rows], "paper"))
    marks.append(gap.line(sizes, [row["law"] for row in rows], "law"))
    marks.append(gap.dots(sizes, gaps, "batch"))
    marks.append(gap.dots([M], [state["gap"]], "batch large"))
    return Drawing(
        350,
        marks,
        f"The mean of this batch lies {abs(mean):.2f} deviations {'above' if mean > 0 else 'below'} that of all pictures, and "
        f"its own deviation is {std:.2f} times theirs. Its loss is {before:.3f} nats with the statistics of all pictures and "
        f"{after:.3f} with its own. Over all batches of {M} the loss rises by {number(state['gap'], state['stderr'])} nats.",
    )


def _theorem(M: int, distribution: str) -> Drawing:
    found = _one(states()["theorem"], distribution=distribution)
    gamma, loss = found["gamma"], found["loss"]
    low = [a + b / M for a, b in zip(loss, found["mean"], strict=True)]
    high = [a + b / M for a, b in zip(low, found["std"], strict=True)]
    best, moved = found["optimum"], found["lowest"][str(M)]
    panel = Panel(Scale(0.75, 2.1, 44, WIDTH - 10), Scale(0, 0.32, 262, 30))
    marks = panel.axes(
        {value: f"{value:g}" for value in (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)},
        {value: f"{value:g}" for value in (0.1, 0.2, 0.3)},
        "scale γ",
        "loss above its minimum, nats",
    )
    marks += [panel.band(gamma, loss, low, "mean-term"), panel.band(gamma, low, high, "std-term")]
    marks += [panel.line(gamma, loss, "plain"), panel.line(gamma, high, "paper")]

    def height(values: Sequence[float], at: float) -> float:
        return float(values[min(range(len(gamma)), key=lambda place: abs(gamma[place] - at))])

    for at, values, look in ((best, loss, "plain"), (moved, high, "paper")):
        marks.append(panel.line([at, at], [0, height(values, at)], f"{look} thin"))
        marks.append(panel.dots([at], [height(values, at)], f"{look} large"))
    of_mean, of_std = found["at_optimum"]
    return Drawing(
        300,
        marks,
        f"With M = {M} and an excess kurtosis of ρ = {found['excess_kurtosis']:.0f}, the noise of the mean "
        f"adds {of_mean / M:.3f} nats at γ = {best:.2f}, that of the deviation {of_std / M:.3f}. "
        f"The sum is lowest at γ = {moved:.2f}.",
    )


def _unit(name: str, place: tuple[bool, str]) -> Drawing:
    found = _one(states()["units"], unit=name, at_optimum=place[0], distribution=place[1])
    highest = max(*found["gap"], found["two_term"], found["law"])
    top = next(top for top in (0.4, 0.8, 1.2, 2.0, 3.2) if highest < 0.95 * top)
    panel = Panel(Scale(7, 290, 40, WIDTH - 10, log=True), Scale(0, top, 252, 30))
    sizes = found["M"]
    marks = panel.axes(
        {size: str(size) for size in sizes},
        {top * step / 4: f"{top * step / 4:g}" for step in range(5)},
        "statistics batch size M",
        "M × gap, nats",
    )
    for look, value in (("paper", found["two_term"]), ("law", found["law"])):
        marks.append(panel.line([sizes[0], sizes[-1]], [value, value], look))
    marks.append(panel.bars(sizes, found["gap"], found["stderr"], "batch"))
    marks.append(panel.dots(sizes, found["gap"], "batch"))
    at = sizes.index(64)
    simulated, stderr = found["gap"][at], found["stderr"][at]
    return Drawing(
        290,
        marks,
        f"At M = 64 simulation has ({number(simulated, stderr)})/M nats. The formula gives {found['two_term']:.3f}/M, which is "
        f"{found['two_term'] / simulated:.2f} times that; the law with every term of order 1/M gives {found['law']:.3f}/M.",
    )


def _network(net: str, M: int) -> Drawing:
    found = _one(states()["network"], net=net, M=M)
    layers, most = found["layers"], max(len(one["layers"]) for one in states()["network"])
    bottom, end = 290, 2.4 / M
    panel = Panel(Scale(0, end, 84, WIDTH - 14), Scale(len(layers), -1, bottom, 10))
    ticks = {0.64 / M * step: f"{0.64 / M * step:g}" for step in range(4)}
    marks = panel.axes(ticks, {}, "gap, nats per image", "")
    gap, stderr = found["gap"]
    marks.append(panel.upright(gap, "plain thin"))
    sums = {"layer": "network", "share": gap, "two_term": found["two_term"]}
    for row, one in enumerate([sums, *layers, *[{"layer": ""}] * (most - len(layers))]):
        y, look = row - 0.5, "label" if row else "strong"
        marks.append(panel.note(_layer_name(one["layer"]), 0, panel.y(y) + 4, look=look))
        marks.append(panel.line([0, one.get("share")], [y - 0.1] * 2, "batch thick"))
        marks.append(panel.dots([one.get("alone")], [y + 0.22], "law"))
        marks.append(panel.dots([one.get("two_term")], [y + 0.22], "paper square"))
    last, alone = layers[-1], sum(one["alone"] for one in layers)
    return Drawing(
        bottom + 38,
        marks,
        f"{_NETS[net].capitalize()}, M = {M}: the shares of its {len(layers)} layers add up to the gap of "
        f"{number(gap, stderr)} nats; the layers alone add up to {alone / gap:.1f} times that. The last layer's share is "
        f"{last['share'] / gap:.0%}; alone it has {last['alone']:.2g} nats, and the formula gives it "
        f"{last['two_term']:.2g}.",
    )


def _layer_name(layer: str) -> str:
    """Return a layer's name in words.

    >>> _layer_name("blocks.2.1"), _layer_name("stages.1.shortcut.1"), _layer_name("bn")
    ('layer 3', '1 shortcut', 'stem')
    """
    kind, _, rest = layer.partition(".")
    if kind == "blocks":
        return f"layer {int(rest[0]) + 1}"
    return (
        f"{rest[0]} {rest[2:].removesuffix('.1').replace('bn', 'conv ')}"
        if kind == "stages"
        else {"bn": "stem"}.get(layer, layer)
    )


def _rates(M: int, unit: str) -> Drawing:
    found = _one(states()["rates"], unit=unit, M=M)["systems"]
    path = Panel(Scale(0, 12, 40, WIDTH - 10), Scale(0.25, 1.05, 132, 24))
    ends = Panel(Scale(0.1, 1.8, 40, WIDTH - 10), Scale(0.6, 1.02, 296, 196))
    marks = path.axes(
        {0: "0", 4: "4", 8: "8", 12: "12"}, {0.5: "0.5", 1: "1"}, "time τ, steps per weight", "scale γ in training"
    )
    drawn = [(look, found[name]) for name, look in _SYSTEMS.items()]
    for look, one in drawn:
        marks.append(path.line(one["tau"], one["gamma"], look))
        marks.append(path.dots(one.get("times", []), one.get("simulated", []), f"{look} small"))
    marks += ends.axes(
        {value: f"{value:g}" for value in (0.5, 1, 1.5)},
        {0.6: "0.6", 0.8: "0.8", 1: "1"},
        "learning rate, in units of 2M",
        "overlap R where training ends",
    )
    for look, one in drawn:
        marks.append(ends.line(one["rate"], one["R"], look))
        marks.append(ends.dots(one.get("tried", []), one.get("settled", []), f"{look} small"))
    largest, last = ({name: one[key] for name, one in found.items()} for key in ("largest", "gamma"))
    return Drawing(
        332,
        marks,
        f"M = {M}: the largest learning rate is {largest['weight_norm']:.1f} with weight normalization, "
        f"{largest['gamma_decay']:.1f} for the paper's model of BN and {largest['batch_norm']:.1f} for BN itself. "
        f"At time 12 the scale is {1 - last['batch_norm'][-1]:.1%} below the teacher's with BN, "
        f"{1 - last['gamma_decay'][-1]:.1%} in the model and {1 - last['weight_norm'][-1]:.1%} with weight normalization.",
    )


def _students(epochs: int) -> Drawing:
    found = states()["students"]
    panel = Panel(Scale(0.4, 4, 44, WIDTH - 10, log=True), Scale(0.025, 10, 262, 30, log=True))
    marks = panel.axes(
        {0.5: "0.5", 1: "1", 2: "2", 4: "4"},
        {0.03: "0.03", 0.1: "0.1", 0.3: "0.3", 1: "1", 3: "3", 10: "10"},
        "load α, samples per weight",
        "generalization error",
    )
    marks.append(panel.line(found["alpha"], found["ends"]["decay"], "paper thin"))
    for name, look in _STUDENTS.items():
        one, ended = found["trained"][name], found["ended"]
        if epochs:
            x, y = points = one["loads"], one["error"][found["epochs"].index(epochs)]
        else:
            x, y = found["alpha"], found["ends"][name]
            points = (ended["loads"], ended["error"]) if name == "BN" else ([], [])
        marks += [panel.line(x, y, look), panel.dots(points[0], points[1], look)]
    return Drawing(300, marks, _students_caption(found, epochs))


def _students_caption(found: Mapping[str, Any], epochs: int) -> str:
    if epochs == 0:
        ended = found["ended"]
        at = ended["loads"].index(1.0)
        return (
            f"At the end of training, at α = 1: BN has an error of {number(ended['error'][at], ended['stderr'][at])}, gamma "
            f"decay {found['decay_at_one']:.2f}. The curve of least squares, which BN follows, goes to infinity there."
        )
    at = found["epochs"].index(epochs)

    def value(name: str) -> str:
        one = found["trained"][name]
        load = one["loads"].index(1.0)
        return number(one["error"][at][load], one["stderr"][at][load])

    return (
        f"After {epochs} epochs, at α = 1: BN has an error of {value('BN')}, gamma decay {value('decay')}, plain SGD "
        f"{value('SGD')}."
    )


@lru_cache(maxsize=1)
def figures() -> Mapping[str, Figure]:
    """Return the figures by id, in their order."""
    return {figure.id: figure for figure in _figures()}


def _figures() -> Iterator[Figure]:
    found = states()
    simulated = {"batch dot": "simulated", "law": "law with every term", "paper dashed": "the paper's two terms"}
    ranges = ((text, *found["ratios"][name]) for name, text in _RATIOS.items())
    label = "; ".join(f"{text}, {low:.2f} to {high:.2f}" for text, low, high in ranges)
    yield Figure("ratios", f"Ranges on a logarithmic axis: {label}", {}, _ratios)
    noise = found["noise"]["states"]
    batches = _sizes(range(1, len(noise[0]["batches"]) + 1))
    yield Figure(
        "noise",
        "Pictures of digits in a batch; the mean and deviation of many batches as a cloud; the rise of the loss over M.",
        {
            "batch dot": "this batch; simulated rise",
            "plain dot": "other batches",
            **{k: v for k, v in simulated.items() if k != "batch dot"},
        },
        _noise,
        (
            Knob("noise-m", "Batch size M", _sizes([row["M"] for row in noise]), 2),
            Knob("noise-batch", "Batch", batches),
        ),
    )
    tails = {"gaussian": "Gaussian, ρ = 0", "laplace": "heavy tails, ρ = 3"}
    lowest = [int(M) for M in found["theorem"][0]["lowest"]]
    yield Figure(
        "theorem",
        "The loss over the scale gamma with population statistics, and above it the two terms of the paper as areas.",
        {
            "plain": "loss of PN",
            "mean-term area": "noise of the mean",
            "std-term area": "noise of the deviation",
            "paper": "their sum",
        },
        _theorem,
        (Knob("theorem-m", "Batch size M", _sizes(lowest)), Knob("theorem-tails", "Pre-activation", tails)),
    )
    yield Figure(
        "unit",
        "M times the gap of one unit over M: simulated points, the law with every term, and the paper's two terms.",
        simulated,
        _unit,
        (Knob("unit-unit", "Unit", _UNITS), Knob("unit-place", "Its weights", _PLACES)),
    )
    yield Figure(
        "network",
        "For the network and each layer, its share of the gap as a bar, the gap of the layer alone, and the two terms.",
        {"batch": "share of the gap", "law dot": "layer alone", "paper dot square": "the paper's two terms"},
        _network,
        (Knob("network-net", "Network", _NETS), Knob("network-m", "Batch size M", {16: "16", 64: "64"})),
    )
    yield Figure(
        "rates",
        "Above, the scale gamma over time; below, where training ends over the learning rate; for BN, its model and WN.",
        {
            "batch": "BN",
            "paper dashed": "its model, gamma decay",
            "plain": "weight normalization",
            "plain dot": "simulated",
        },
        _rates,
        (
            Knob("rates-m", "Batch size M", _sizes(sorted({row["M"] for row in found["rates"]}))),
            Knob("rates-unit", "Unit", {"linear": "linear", "relu": "ReLU"}),
        ),
    )
    epochs = {**_sizes(found["students"]["epochs"]), 0: "to the end"}
    yield Figure(
        "students",
        "Generalization error over the load for BN, gamma decay and plain SGD, after a number of epochs.",
        {"batch": "BN, M = 32", "paper": "gamma decay", "plain": "plain SGD", "paper thin": "gamma decay, at its end"},
        _students,
        (Knob("students-epochs", "Epochs", epochs, 2),),
    )
