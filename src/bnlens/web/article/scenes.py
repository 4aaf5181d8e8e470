"""The drawings of the article: from the values of a figure's knobs to what it shows then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.render import Html, number
from bnlens.web.article.drawing import WIDTH, Drawing, Mark, Panel, Scale
from bnlens.web.article.states import CELL, PICTURE, states
from bnlens.web.assets import assets

__all__ = ["NETS", "RATIOS", "network", "noise", "rates", "ratios", "students", "theorem", "unit"]

RATIOS = {
    "own noise": "Gap under the noise it assumes",
    "optimum": "Gap at an optimum without skew",
    "away": "Gap away from an optimum",
    "shrink": "Shrink of γ at the optimum",
    "networks": "Gap of trained networks",
    "layers": "Gap of their layers, each alone",
    "largest rate": "Largest learning rate, at least",
    "effective rate": "Effective learning rate, at least",
    "100 epochs": "Error after 100 epochs, α ≥ 1",
    "end": "Error at the end of training, α ≥ 1",
}
"""Rows of the picture at the start, by the name of their numbers."""

NETS = {"cnn": "4-conv net", "resnet": "residual net"}
"""The trained networks."""

_SYSTEMS = {"weight_norm": "plain", "gamma_decay": "paper", "batch_norm": "batch"}
_STUDENTS = {"SGD": "plain", "decay": "paper", "BN": "batch"}


def _one(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def ratios() -> Drawing:
    """Draw each of the paper's values over the computed one, on one axis."""
    rows, found = 25, states()["ratios"]
    bottom = 30 + rows * len(RATIOS)
    panel = Panel(Scale(0.03, 2.5, 218, WIDTH - 12, log=True), Scale(len(RATIOS), 0, bottom, 24))
    marks = [panel.tick(value, panel.x(value), bottom + 16, "middle") for value in (0.03, 0.1, 0.3, 1, 2)]
    marks.append(panel.note("right", panel.x(1), 15, anchor="middle", look="tick"))
    marks.append(panel.upright(1, "plain"))
    for row, (name, text) in enumerate(RATIOS.items()):
        low, high = found[name]
        look = "law" if low >= 0.9 and high <= 1.1 else "paper"
        marks.append(panel.note(text, 0, panel.y(row + 0.5) + 4))
        marks.append(panel.line([low, high], [row + 0.5] * 2, f"{look} thick round"))
    return Drawing(bottom + 24, marks)


def noise(M: int, batch: int) -> Drawing:
    """Draw a batch of digits, its statistics among those of others, and the rise of the loss over M."""
    found, at = states()["noise"], WIDTH - 10
    state = _one(found["states"], M=M)
    mean, std, before, after = state["batches"][batch - 1]
    columns, rows = (8 if M > 16 else 4 if M > 4 else 2), (8 if M > 32 else 4 if M > 8 else 2)
    box = f"0 {8 * CELL * (batch - 1)} {CELL * columns} {CELL * rows}"
    place = {"x": "0", "y": "24", "width": "150", "height": f"{150 * rows / columns:g}", "viewBox": box}
    height = 8 * CELL * len(state["batches"])
    picture = f'<image href="{assets()[PICTURE.name].path}" width="{8 * CELL}" height="{height}"/>'
    marks = [Mark("svg", {"class": "images", **place, "aria-hidden": "true"}, Html(picture))]
    marks.append(Panel.note(f"a batch of {M} pictures", 0, 12))
    cloud = Panel(Scale(-1.5, 1.5, 222, at), Scale(0.1, 1.7, 172, 22))
    spread = [(math.cos(t / 30 * math.pi), math.sin(t / 30 * math.pi)) for t in range(61)]
    around = [
        [2 * side * sd for side in sides] for sd, sides in zip(state["spread"], zip(*spread, strict=True), strict=True)
    ]
    marks += cloud.axes((-1, 0, 1), (0.5, 1, 1.5), "mean of the batch", "deviation of the batch")
    marks.append(cloud.dots(state["cloud"][0], state["cloud"][1], "plain tiny"))
    marks.append(cloud.line(around[0], [1 + one for one in around[1]], "paper"))
    marks.append(cloud.dots([mean], [std], "batch large"))
    gap = Panel(Scale(3.5, 73, 50, at, log=True), Scale(0.004, 0.4, 316, 236, log=True))
    rows = found["states"]
    sizes, gaps = [row["M"] for row in rows], [row["gap"] for row in rows]
    marks += gap.axes(sizes, (0.01, 0.1), "statistics batch size M", "rise of the loss, nats")
    marks.append(gap.line(sizes, [row["two_term"] for row in rows], "paper"))
    marks.append(gap.line(sizes, [row["law"] for row in rows], "law"))
    marks.append(gap.dots(sizes, gaps, "batch"))
    marks.append(gap.dots([M], [state["gap"]], "batch large"))
    return Drawing(
        350,
        marks,
        f"The mean of this batch lies {abs(mean):.2f} deviations {'above' if mean > 0 else 'below'} that of all pictures, and "
        f"its own deviation is {std:.2f} times theirs. Its loss is {before:.3f} nats with the statistics of all pictures and "
        f"{after:.3f} with its own. Over many batches of {M} the loss rises by {number(state['gap'], state['stderr'])} nats.",
    )


def theorem(M: int, distribution: str) -> Drawing:
    """Draw the loss of the paper's unit over gamma, with the two terms on top of it."""
    found = _one(states()["theorem"], distribution=distribution)
    gamma, loss = found["gamma"], found["loss"]
    low = [a + b / M for a, b in zip(loss, found["mean"], strict=True)]
    high = [a + b / M for a, b in zip(low, found["std"], strict=True)]
    best, moved = found["optimum"], found["lowest"][str(M)]
    panel = Panel(Scale(0.75, 2.1, 44, WIDTH - 10), Scale(0, 0.32, 262, 30))
    scales = (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    marks = panel.axes(scales, (0.1, 0.2, 0.3), "scale γ", "loss above its minimum, nats")
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


def unit(name: str, place: tuple[bool, str]) -> Drawing:
    """Draw the gap of one unit over M, simulated and by formula."""
    found = _one(states()["units"], unit=name, at_optimum=place[0], distribution=place[1])
    highest = max(*found["gap"], found["two_term"], found["law"])
    top = next(top for top in (0.4, 0.8, 1.2, 2.0, 3.2) if highest < 0.95 * top)
    panel = Panel(Scale(7, 290, 40, WIDTH - 10, log=True), Scale(0, top, 252, 30))
    sizes = found["M"]
    marks = panel.axes(sizes, [top * step / 4 for step in range(5)], "statistics batch size M", "M × gap, nats")
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


def network(net: str, M: int) -> Drawing:
    """Draw the gap of a trained network and of its layers."""
    found = _one(states()["network"], net=net, M=M)
    layers, most = found["layers"], max(len(one["layers"]) for one in states()["network"])
    bottom, end = 290, 2.4 / M
    panel = Panel(Scale(0, end, 84, WIDTH - 14), Scale(len(layers), -1, bottom, 10))
    marks = panel.axes([0.64 / M * step for step in range(4)], (), "gap, nats per image", "")
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
        f"{NETS[net].capitalize()}, M = {M}: the shares of its {len(layers)} layers add up to the gap of "
        f"{number(gap, stderr)} nats; the layers alone add up to {alone / gap:.1f} times that. The last layer's share is "
        f"{last['share'] / gap:.0%}; alone it has {last['alone']:.2g} nats, and the formula gives it "
        f"{last['two_term']:.2g}.",
    )


def _layer_name(layer: str) -> str:
    """Return a layer's name in words.

    >>> _layer_name("blocks.2.1"), _layer_name("stages.1.shortcut.1"), _layer_name("bn")
    ('layer 3', '2: shortcut', 'stem')
    """
    kind, _, rest = layer.partition(".")
    if kind == "blocks":
        return f"layer {int(rest[0]) + 1}"
    if kind == "stages":
        return f"{int(rest[0]) + 1}: {rest[2:].removesuffix('.1').replace('bn', 'conv ')}"
    return {"bn": "stem"}.get(layer, layer)


def rates(M: int, unit: str) -> Drawing:
    """Draw the scale of a student in training, and where it ends over the learning rate."""
    found = _one(states()["rates"], unit=unit, M=M)["systems"]
    path = Panel(Scale(0, 12, 40, WIDTH - 10), Scale(0.25, 1.05, 132, 24))
    ends = Panel(Scale(0.1, 1.8, 40, WIDTH - 10), Scale(0.6, 1.02, 296, 196))
    marks = path.axes((0, 4, 8, 12), (0.5, 1), "time τ, steps per weight", "scale γ in training")
    drawn = [(look, found[name]) for name, look in _SYSTEMS.items()]
    for look, one in drawn:
        marks.append(path.line(one["tau"], one["gamma"], look))
        marks.append(path.dots(one.get("times", []), one.get("simulated", []), f"{look} small"))
    marks += ends.axes((0.5, 1, 1.5), (0.6, 0.8, 1), "learning rate, in units of 2M", "overlap R where training ends")
    for look, one in drawn:
        marks.append(ends.line(one["rate"], one["R"], look))
        marks.append(ends.dots(one.get("tried", []), one.get("settled", []), f"{look} small"))
    largest, last = ({name: one[key] for name, one in found.items()} for key in ("largest", "gamma"))
    return Drawing(
        332,
        marks,
        f"M = {M}, by the equations: the largest learning rate is {largest['weight_norm']:.1f} with weight normalization, "
        f"{largest['gamma_decay']:.1f} for the paper's model of BN and {largest['batch_norm']:.1f} for BN itself. "
        f"At time 12 the scale is {1 - last['batch_norm'][-1]:.1%} below the teacher's with BN, "
        f"{1 - last['gamma_decay'][-1]:.1%} in the model and {1 - last['weight_norm'][-1]:.1%} with weight normalization.",
    )


def students(epochs: int) -> Drawing:
    """Draw the error of students over the load after some epochs, 0 for the end of training."""
    found = states()["students"]
    panel = Panel(Scale(0.4, 4, 44, WIDTH - 10, log=True), Scale(0.025, 10, 262, 30, log=True))
    errors = (0.03, 0.1, 0.3, 1, 3, 10)
    marks = panel.axes((0.5, 1, 2, 4), errors, "load α, samples per weight", "generalization error")
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
