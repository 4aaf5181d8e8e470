"""Lab: maximum and effective learning rates, and where training ends above and below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnlens.render import PALETTE, new_figure, number
from bnlens.theory.dynamics import BatchNorm, System, WeightNorm
from bnlens.theory.learning_rate import (
    effective_learning_rate,
    fixed_point,
    max_learning_rate,
    orderings,
    stationary_state,
)
from bnlens.web.labs._lab import Cost, Example, Lab, State, Step
from bnlens.web.labs._parameters import Choice, Real, Whole, switch
from bnlens.web.labs._result import Headline, Result

__all__ = ["LAB"]

_POINTS = 17
_SIMULATED_EVERY = 4
_START = 0.9  # overlap from which a simulated student settles
_MODELS = {
    "weight_norm": ("weight normalization", "dash", "square"),
    "gamma_decay": ("gamma decay (paper's model of BN)", "dot", "diamond"),
    "batch_norm": ("batch normalization", "solid", "circle"),
}
_HEADINGS = {
    "learning_rate": "η",
    "weight_norm": "R, weight norm.",
    "gamma_decay": "R, gamma decay",
    "batch_norm": "R, batch norm.",
    "simulated weight_norm": "Weight norm., simulated",
    "simulated gamma_decay": "Gamma decay, simulated",
    "simulated batch_norm": "Batch norm., simulated",
}


def _systems(state: State, rate: float) -> dict[str, System]:
    common: dict[str, Any] = {
        "unit": state["unit"],
        "learning_rate": rate,
        "batch_size": state["batch_size"],
        "label_noise": state["label_noise"],
    }
    batch_norm = BatchNorm(**common)
    return {
        "weight_norm": WeightNorm(**common),
        "gamma_decay": batch_norm.as_gamma_decay(),
        "batch_norm": batch_norm,
    }


def _compute(state: State) -> Result:
    norm, size = state["norm"], state["batch_size"]
    largest = {name: max_learning_rate(system, norm=norm) for name, system in _systems(state, 1.0).items()}
    chosen = {
        name: effective_learning_rate(system, norm=norm) for name, system in _systems(state, state["rate"]).items()
    }
    end = 2.0 * max([value for value in largest.values() if math.isfinite(value)] + [state["rate"] / 2])
    grid = [float(rate) for rate in np.linspace(end / _POINTS, end, _POINTS)]
    bends = [value for value in largest.values() if math.isfinite(value)]
    rows = [_row(state, rate, simulated=rate in grid[::_SIMULATED_EVERY]) for rate in sorted({*grid, *bends})]
    found = fixed_point(_systems(state, state["rate"])["batch_norm"])
    return Result(
        figure=_figure(rows, largest, state),
        caption=(
            f"Where training at frozen norm L = {number(norm)} ends, over the learning rate: "
            f"{state['unit'].replace('relu', 'ReLU')} unit, M = {size}. Vertical lines: the maximum learning rates."
        ),
        description=_description(rows, largest),
        headlines=[
            Headline("max-batch-norm", "Maximum rate, batch normalization", largest["batch_norm"]),
            Headline("max-weight-norm", "Maximum rate, weight normalization", largest["weight_norm"]),
            Headline("max-gamma-decay", "Maximum rate, gamma decay", largest["gamma_decay"]),
            Headline(
                "effective-batch-norm",
                f"Effective at η = {number(state['rate'])}, batch norm.",
                chosen["batch_norm"],
                note="ηγ₀/L²",
            ),
            Headline(
                "effective-weight-norm",
                f"Effective at η = {number(state['rate'])}, weight norm.",
                chosen["weight_norm"],
                note="ηγ₀/L²",
            ),
            Headline("gamma0", "γ₀ of batch normalization", found.gamma),
        ],
        rows=rows,
        columns={name: heading for name, heading in _HEADINGS.items() if any(name in row for row in rows)},
        table="Stationary overlap R by learning rate",
        code=_code(state),
        notes=_notes(state),
    )


def _row(state: State, rate: float, *, simulated: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"learning_rate": rate}
    for name, system in _systems(state, rate).items():
        row[name] = stationary_state(system, norm=state["norm"]).R
        if simulated and state["simulate"] == "yes":
            row |= _simulated(name, system, state)
    return row


def _simulated(name: str, system: System, state: State) -> dict[str, float]:
    from bnlens.simulate import simulate_dynamics

    ended = simulate_dynamics(
        system,
        [state["tau"]],
        gamma=1.0,
        R=_START,
        L=state["norm"],
        freeze_norm=True,
        size=int(state["size"]),
        runs=state["runs"],
        seed=state["seed"],
    )
    return {f"simulated {name}": float(ended.R[-1]), f"simulated {name} stderr": float(ended.R_stderr[-1])}


def _figure(rows: list[dict[str, Any]], largest: Mapping[str, float], state: State) -> Any:
    figure = new_figure(x="learning rate η", y="stationary overlap R", height=440)
    lines: list[dict[str, Any]] = []  # all at once: add_vline takes ten times as long
    for (name, (label, dash, symbol)), color in zip(_MODELS.items(), PALETTE, strict=False):
        figure.add_scatter(
            x=[row["learning_rate"] for row in rows],
            y=[row[name] for row in rows],
            mode="lines",
            name=label,
            line={"color": color, "dash": dash},
        )
        points = [row for row in rows if f"simulated {name}" in row]
        if points:
            figure.add_scatter(
                x=[row["learning_rate"] for row in points],
                y=[row[f"simulated {name}"] for row in points],
                error_y={"array": [row[f"simulated {name} stderr"] for row in points]},
                mode="markers",
                name=f"{label}, N = {state['size']}",
                marker={"color": color, "symbol": symbol},
            )
        if math.isfinite(largest[name]):
            at, line = largest[name], {"color": color, "width": 1, "dash": dash}
            lines.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "y domain", "line": line})
    figure.update_layout(shapes=lines, yaxis_rangemode="tozero")
    return figure


def _description(rows: list[dict[str, Any]], largest: Mapping[str, float]) -> str:
    last = rows[-1]
    ends = "; ".join(
        f"{label}: maximum rate {number(largest[name])}, R {number(last[name])}"
        for name, (label, _, _) in _MODELS.items()
    )
    return (
        "Line chart of the stationary overlap, which falls once the rate is above the maximum. "
        f"At η = {number(last['learning_rate'])}, {ends}."
    )


def _notes(state: State) -> list[str]:
    words = {"maximum": "larger maximum", "effective": "larger effective"}
    models = {"GammaDecay": "its model, gamma decay,", "BatchNorm": "true batch normalization"}
    found = orderings(state["unit"], state["batch_size"], norm=state["norm"])
    judged = [
        f"{models[order.model]} {'has' if order.holds else 'has not'} the {words[order.quantity]} rate "
        f"({number(order.rate)} against {number(order.bound)})"
        for order in found
    ]
    notes = [f"The paper's orderings here: {'; '.join(judged)}."]
    if state["unit"] == "relu":
        notes.append(
            "With a ReLU unit R leaves 1 gradually and well below the maximum rate: batches turn the sign of some samples."
        )
    notes.append(
        "At frozen norm |w| is restored after each step. With a free norm there is no maximum: the weights grow instead."
    )
    return notes


def _code(state: State) -> str:
    lines = [
        "from bnlens.theory.dynamics import BatchNorm",
        "from bnlens.theory.learning_rate import effective_learning_rate, max_learning_rate, stationary_state",
        "",
        f'system = BatchNorm(unit="{state["unit"]}", learning_rate={state["rate"]:g}, batch_size={state["batch_size"]}, '
        f"label_noise={state['label_noise']:g})",
        f"max_learning_rate(system, norm={state['norm']:g}), effective_learning_rate(system, norm={state['norm']:g})",
        f"stationary_state(system, norm={state['norm']:g})",
        "system.as_gamma_decay()  # the paper's model",
    ]
    return "\n".join(lines)


def _cost(state: State) -> Cost:
    if state["simulate"] == "yes":
        return "long"
    return "short" if state["unit"] == "relu" else "instant"


_SIMULATING: dict[str, Any] = {"when": {"simulate": ("yes",)}, "group": "Students of finite size"}

LAB = Lab(
    id="rates",
    title="Learning rates",
    question="Does batch normalization allow a larger learning rate, and how fast does it turn the weights?",
    parameters=(
        Choice(name="unit", label="Unit", default="linear", options={"linear": "Linear", "relu": "ReLU"}),
        Whole(name="batch_size", label="Batch size", symbol="M", default=8, minimum=4, maximum=256, log=True),
        Real(
            name="rate",
            label="Learning rate",
            symbol="η",
            default=1.0,
            minimum=0.01,
            maximum=100,
            log=True,
            help="For the effective rates.",
        ),
        Real(name="norm", label="Norm of the weights", symbol="L", default=1.0, minimum=0.2, maximum=5, step=0.1),
        Real(
            name="label_noise", label="Label noise, variance", symbol="S", default=0.0, minimum=0, maximum=4, step=0.05
        ),
        switch(
            name="simulate",
            label="Simulate",
            help="Train students of N weights; takes seconds.",
            group="Students of finite size",
        ),
        Choice(
            name="size",
            label="Weights",
            symbol="N",
            default="100",
            options={"50": "50", "100": "100", "200": "200"},
            **_SIMULATING,
        ),
        Real(name="tau", label="Time given", symbol="τ", default=10.0, minimum=1, maximum=20, step=1, **_SIMULATING),
        Whole(name="runs", label="Runs", default=8, minimum=2, maximum=16, **_SIMULATING),
        Whole(name="seed", label="Seed", default=0, minimum=0, maximum=999_999, **_SIMULATING),
    ),
    compute=_compute,
    check=lambda state: (
        {"batch_size": "For a simulation the batch size M must be 64 or less."}
        if state["simulate"] == "yes" and state["batch_size"] > 64
        else {}
    ),
    formulas=(
        Step(
            "Above the maximum learning rate a student at frozen norm turns away from the teacher. Linear unit, for weight "
            "normalization, gamma decay and batch normalization:",
            r"\frac{\eta_{max}}{L^2} = 2M, \quad \frac{2M (1 + 2\zeta)^3}{1 + 2\zeta - 2\zeta^2}, \quad "
            r"\frac{2 (M-3) b_M}{c_M}",
        ),
        Step(
            "The effective rate is the one with which the direction moves near the teacher.",
            r"\eta_{eff} = \frac{\eta \gamma_0}{L^2}, \quad \gamma_0 = 1, \quad \frac{1}{1 + 2\zeta}, \quad c_M",
        ),
    ),
    examples=(
        Example(
            "The paper's claim, checked",
            {"simulate": "yes"},
            "The model has the larger maximum; batch normalization itself the smaller.",
        ),
        Example(
            "Large batches of a ReLU unit",
            {"unit": "relu", "batch_size": 64},
            "From M = 56 on the ordering holds for batch normalization too.",
        ),
        Example(
            "Labels with noise",
            {"label_noise": 0.25},
            "The rates stay; the place where training ends moves away from R = 1.",
        ),
    ),
    source="Theory sheet B.2 and B.3",
    cost=_cost,
    grid=("unit",),
)
