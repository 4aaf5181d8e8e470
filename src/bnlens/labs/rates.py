"""Lab: maximum and effective learning rates, and where training ends above and below."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from bnlens._progress import Counter
from bnlens.labs._lab import Command, Example, Lab, State, Step
from bnlens.labs._parameters import BATCH_SIZE, RUNS, UNIT, Option, Real, Whole, simulation, sizes, value_text
from bnlens.labs._result import Headline, Result, Table, add_curve, add_simulated, call, simulated_records
from bnlens.render import PALETTE, dense, new_figure, number
from bnlens.theory.dynamics import BatchNorm, System, WeightNorm
from bnlens.theory.learning_rate import (
    effective_learning_rate,
    fixed_point,
    max_learning_rate,
    orderings,
    stationary_state,
)

__all__ = ["LAB"]

_POINTS = 17
_BETWEEN = 100  # points of a curve between those of the table
_SIMULATED_EVERY = 4
_START = 0.9  # overlap from which a simulated student settles
_MODELS = {
    "weight-norm": ("weight normalization", "dash", "square"),
    "gamma-decay": ("gamma decay (paper's model of BN)", "dot", "diamond"),
    "batch-norm": ("batch normalization", "solid", "circle"),
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
_HELP = """Fixed points and learning rates of weight normalization, gamma decay (the paper's model of BN) and BN, at fixed norm.

Where training ends (gamma and R) for each learning rate, beside the maximum learning rate, above which R leaves 1, and
the effective one. JSON has what becomes of the paper's orderings beside the rows.
"""

Row = dict[str, Any]


def _arguments(state: State, rate: float) -> dict[str, Any]:
    return {"learning_rate": rate, **{name: state[name] for name in ("unit", "batch_size", "label_noise")}}


def _systems(state: State, rate: float) -> dict[str, System]:
    arguments = _arguments(state, rate)
    batch_norm = BatchNorm(**arguments)
    found = (WeightNorm(**arguments), batch_norm.as_gamma_decay(), batch_norm)
    return dict(zip(_MODELS, found, strict=True))


def _drawn(state: State) -> dict[str, Any]:
    """Return how students are trained, all arguments but the system and the time."""
    start = {"gamma": 1.0, "R": _START, "L": state["norm"], "freeze_norm": True}
    return {**start, "size": int(state["size"]), "runs": state["runs"], "seed": state["seed"]}


def _ends(
    state: State, rates: Sequence[float], simulated: Collection[float], progress: Counter | None = None
) -> list[Row]:
    """Return where training ends for each system and learning rate, one row each."""
    rows = []
    for name, rate in ((name, rate) for name in _MODELS for rate in rates):
        system = _systems(state, rate)[name]
        ended = stationary_state(system, norm=state["norm"])
        row: Row = {"system": name, "learning_rate": rate, "gamma": ended.gamma, "R": ended.R}
        if state["simulate"] == "yes" and rate in simulated:
            from bnlens.simulate import simulate_dynamics

            row |= simulated_records(simulate_dynamics(system, [state["tau"]], **_drawn(state)), ("gamma", "R"))[0]
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(_MODELS) * len(rates))
    return rows


def _largest(state: State) -> dict[str, float]:
    return {name: max_learning_rate(system, norm=state["norm"]) for name, system in _systems(state, 1.0).items()}


def _grid(state: State, largest: Mapping[str, float]) -> tuple[float, float]:
    """Return the first and the last of the learning rates that are shown."""
    end = 2.0 * max([value for value in largest.values() if math.isfinite(value)] + [state["rate"] / 2])
    return end / _POINTS, end


def _compute(state: State) -> Result:
    largest = _largest(state)
    grid = np.linspace(*_grid(state, largest), _POINTS).tolist()
    rates = sorted({*grid, *(value for value in largest.values() if math.isfinite(value))})
    ends = _ends(state, rates, grid[::_SIMULATED_EVERY])
    rows: dict[float, Row] = {rate: {"learning_rate": rate} for rate in rates}
    for end in ends:
        name = end["system"].replace("-", "_")
        shown = {"R": name, "simulated R": f"simulated {name}", "simulated R stderr": f"simulated {name} stderr"}
        rows[end["learning_rate"]] |= {column: end[key] for key, column in shown.items() if key in end}
    wide = list(rows.values())
    return Result(
        figure=_figure(ends, largest, state),
        caption=(
            f"Where training at frozen norm L = {number(state['norm'])} ends, over the learning rate: "
            f"{state['unit'].replace('relu', 'ReLU')} unit, M = {state['batch_size']}. "
            "Vertical lines: the maximum learning rates."
        ),
        description=_description(wide[-1], largest),
        headlines=_headlines(state, largest),
        rows=wide,
        columns=_HEADINGS,
        table="Stationary overlap R by learning rate",
        code=_code(state, largest),
        notes=_notes(state),
    )


def _tabulate(state: State, progress: Counter) -> Table:
    rates, norm, largest = state["rate"], state["norm"], _largest(state)
    rows = []
    for end in _ends(state, rates, rates, progress):
        system = _systems(state, end["learning_rate"])[end["system"]]
        rest = {
            "gamma0": fixed_point(system).gamma,
            "max_learning_rate": largest[end["system"]],
            "effective_learning_rate": effective_learning_rate(system, norm=norm),
        }
        rows.append({"system": end.pop("system"), "learning_rate": end.pop("learning_rate"), **rest, **end})
    facts = {name: state[name] for name in ("unit", "batch_size", "norm")}
    found = orderings(state["unit"], state["batch_size"], norm=norm)
    claims = [asdict(order) | {"holds": bool(order.holds)} for order in found]
    return Table(
        rows=rows,
        facts=facts | {"orderings": claims},
        title="Learning rates",
        words=f"Stationary overlap at norm {norm:g}, batches of {state['batch_size']}, {state['unit']} unit",
        draw=partial(_figure, rows, largest, state),
    )


def _figure(ends: Sequence[Row], largest: Mapping[str, float], state: State) -> Any:
    """Return the curves through where training ends, with their kinks at the largest rates, and what was simulated."""
    figure = new_figure(x="learning rate η", y="stationary overlap R", height=440)
    rates = [row["learning_rate"] for row in ends]
    kinks = [rate for rate in largest.values() if min(rates) < rate < max(rates)]
    curves = _ends({**state, "simulate": "no"}, dense([*rates, *kinks], _BETWEEN), ())
    lines: list[dict[str, Any]] = []  # all at once: add_vline takes ten times as long
    for (name, (label, dash, symbol)), color in zip(_MODELS.items(), PALETTE, strict=False):
        mine = [row for row in ends if row["system"] == name]
        curve = [row for row in curves if row["system"] == name]
        add_curve(figure, label, curve, "learning_rate", "R", color=color, dash=dash)
        add_simulated(figure, f"{label}, N = {state['size']}", mine, "learning_rate", "R", color=color, symbol=symbol)
        if math.isfinite(largest[name]):
            at, line = largest[name], {"color": color, "width": 1, "dash": dash}
            lines.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "y domain", "line": line})
    figure.update_layout(shapes=lines, yaxis_rangemode="tozero")
    return figure


def _headlines(state: State, largest: Mapping[str, float]) -> list[Headline]:
    systems, chosen = _systems(state, state["rate"]), f"Effective at η = {number(state['rate'])}"
    effective = {name: effective_learning_rate(system, norm=state["norm"]) for name, system in systems.items()}
    return [
        Headline("max-batch-norm", "Maximum rate, batch normalization", largest["batch-norm"]),
        Headline("max-weight-norm", "Maximum rate, weight normalization", largest["weight-norm"]),
        Headline("max-gamma-decay", "Maximum rate, gamma decay", largest["gamma-decay"]),
        Headline("effective-batch-norm", f"{chosen}, batch norm.", effective["batch-norm"], note="ηγ₀/L²"),
        Headline("effective-weight-norm", f"{chosen}, weight norm.", effective["weight-norm"], note="ηγ₀/L²"),
        Headline("gamma0", "γ₀ of batch normalization", fixed_point(systems["batch-norm"]).gamma),
    ]


def _description(last: Row, largest: Mapping[str, float]) -> str:
    ends = "; ".join(
        f"{label}: maximum rate {number(largest[name])}, R {number(last[name.replace('-', '_')])}"
        for name, (label, _, _) in _MODELS.items()
    )
    return (
        "Line chart of the stationary overlap, which falls once the rate is above the maximum. "
        f"At η = {number(last['learning_rate'])}, {ends}."
    )


def _notes(state: State) -> list[str]:
    words = {"maximum": "larger maximum", "effective": "larger effective"}
    models = {"GammaDecay": "its model, gamma decay,", "BatchNorm": "true batch normalization"}
    judged = [
        f"{models[order.model]} {'has' if order.holds else 'has not'} the {words[order.quantity]} rate "
        f"({number(order.rate)} against {number(order.bound)})"
        for order in orderings(state["unit"], state["batch_size"], norm=state["norm"])
    ]
    relu = (
        "With a ReLU unit R leaves 1 gradually and well below the maximum rate: batches turn the sign of some samples."
    )
    return [
        f"The paper's orderings here: {'; '.join(judged)}.",
        *([relu] if state["unit"] == "relu" else []),
        "At frozen norm |w| is restored after each step. With a free norm there is no maximum: the weights grow instead.",
    ]


def _code(state: State, largest: Mapping[str, float]) -> str:
    norm = f"norm={value_text(state['norm'])}"
    grid = call("np.linspace", *map(value_text, _grid(state, largest)), str(_POINTS))
    names = ("effective_learning_rate", "fixed_point", "max_learning_rate", "stationary_state")
    lines = [
        "from dataclasses import replace",
        "import numpy as np",
        "from bnlens.theory.dynamics import BatchNorm, WeightNorm",
        f"from bnlens.theory.learning_rate import {', '.join(names)}",
        "",
        f"batch_norm = {call('BatchNorm', **_arguments(state, state['rate']))}",
        f"weight_norm = {call('WeightNorm', **_arguments(state, state['rate']))}",
        "systems = [weight_norm, batch_norm.as_gamma_decay(), batch_norm]",
        f"grid = {grid}.tolist()",
        f"largest = [max_learning_rate(system, {norm}) for system in systems]",
        "for system, rate in zip(systems, largest):",
        f"    print(type(system).__name__, rate, effective_learning_rate(system, {norm}), fixed_point(system).gamma)",
        "for rate in sorted({*grid, *filter(np.isfinite, largest)}):",
        f"    print(rate, *(stationary_state(replace(system, learning_rate=rate), {norm}).R for system in systems))",
    ]
    if state["simulate"] == "yes":
        lines.insert(2, "from bnlens.simulate import simulate_dynamics")
        drawn = call("simulate_dynamics", "student", f"[{value_text(state['tau'])}]", **_drawn(state))
        lines += [
            f"for rate in grid[::{_SIMULATED_EVERY}]:",
            "    for system in systems:",
            "        student = replace(system, learning_rate=rate)",
            f"        drawn = {drawn}",
            "        print(rate, type(system).__name__, drawn.R[0], drawn.R_stderr[0])",
        ]
    return "\n".join(lines)


_DRAWN = {"simulate": {"yes": (4, 64)}}
_MOST = "For a simulation at most 64."
_BATCH_SIZE = replace(BATCH_SIZE, minimum=4)
_RATES = Option("Learning rates, as 1,2,4 or START:STOP:STEP.", "LIST", "4:28:4", name="learning-rate", numbers=True)
_EFFECTIVE = "For the effective rates."
_NORM = Option("Norm of the weights, restored after each step.", "L")
_SIZE = Option("Weights of a simulated student.", "N", 400)
_TIME = Option("Time that a simulated student is given.", "T", 20.0)

LAB = Lab(
    id="rates",
    title="Learning rates",
    question="Does batch normalization allow a larger learning rate, and how fast does it turn the weights?",
    parameters=(
        UNIT,
        Whole(
            "batch_size", "Batch size", 8, 4, 256, symbol="M", log=True, within=_DRAWN, help=_MOST, option=_BATCH_SIZE
        ),
        Real("rate", "Learning rate", 1.0, 0.01, 100, symbol="η", log=True, help=_EFFECTIVE, option=_RATES),
        Real("norm", "Norm of the weights", 1.0, 0.2, 5, 0.1, symbol="L", option=_NORM),
        Real("label_noise", "Label noise, variance", 0.0, 0, 4, 0.05, symbol="S"),
        *simulation(
            "Train students of N weights; takes seconds.",
            sizes("size", "Weights", 100, 50, 100, 200, symbol="N", option=_SIZE),
            Real("tau", "Time given", 10.0, 1, 20, 1, symbol="τ", option=_TIME),
            Whole("runs", "Runs", 8, 2, 16, option=RUNS),
        ),
    ),
    compute=_compute,
    command=Command(_HELP, _tabulate),
    formulas=(
        Step(
            "Above the maximum learning rate a student at frozen norm turns away from the teacher. Linear unit, for weight "
            "normalization, gamma decay and batch normalization:",
            r"\frac{\eta_\text{max}}{L^2} = 2M, \quad \frac{2M (1 + 2\zeta)^3}{1 + 2\zeta - 2\zeta^2}, \quad "
            r"\frac{2 (M-3) b_M}{c_M}",
        ),
        Step(
            "The effective rate is the one with which the direction moves near the teacher.",
            r"\eta_\text{eff} = \frac{\eta \gamma_0}{L^2}, \quad \gamma_0 = 1, \quad \frac{1}{1 + 2\zeta}, \quad c_M",
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
    grid=("unit",),
)
