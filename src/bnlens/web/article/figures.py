"""The figures of the article, each with its knobs, and all states of a figure as what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, NamedTuple

from bnlens.render import Html
from bnlens.web.article import scenes
from bnlens.web.article.drawing import Drawing, patches
from bnlens.web.article.states import states

__all__ = ["Figure", "Knob", "figures"]

_UNITS = {
    "softplus_glm": "softplus (paper's)",
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


@lru_cache(maxsize=1)
def figures() -> Mapping[str, Figure]:
    """Return the figures by id, in their order."""
    return {figure.id: figure for figure in _figures()}


def _figures() -> Iterator[Figure]:
    found = states()
    simulated = {"batch dot": "simulated", "law": "law with every term", "paper dashed": "the paper's two terms"}
    ranges = ((text, *found["ratios"][name]) for name, text in scenes.RATIOS.items())
    label = "; ".join(f"{text}, {low:.2f} to {high:.2f}" for text, low, high in ranges)
    yield Figure("ratios", f"Ranges on a logarithmic axis: {label}", {}, scenes.ratios)
    noise = found["noise"]["states"]
    batches = _sizes(range(1, len(noise[0]["batches"]) + 1))
    yield Figure(
        "noise",
        "Pictures of digits in a batch; the mean and deviation of many batches as a cloud; the rise of the loss over M.",
        {
            "batch dot": "this batch; simulated rise",
            "plain dot": "other batches",
            "law": simulated["law"],
            "paper dashed": "the paper: two standard deviations, two terms",
        },
        scenes.noise,
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
        scenes.theorem,
        (Knob("theorem-m", "Batch size M", _sizes(lowest)), Knob("theorem-tails", "Pre-activation", tails)),
    )
    yield Figure(
        "unit",
        "M times the gap of one unit over M: simulated points, the law with every term, and the paper's two terms.",
        simulated,
        scenes.unit,
        (Knob("unit-unit", "Unit", _UNITS), Knob("unit-place", "Its weights", _PLACES)),
    )
    yield Figure(
        "network",
        "For the network and each layer, its share of the gap as a bar, the gap of the layer alone, and the two terms.",
        {
            "batch": "share of the gap",
            "law dot": "layer alone",
            "paper dot square": "the paper's two terms",
            "plain thin": "the network's gap",
        },
        scenes.network,
        (Knob("network-net", "Network", scenes.NETS), Knob("network-m", "Batch size M", {16: "16", 64: "64"})),
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
        scenes.rates,
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
        scenes.students,
        (Knob("students-epochs", "Epochs", epochs, 2),),
    )
