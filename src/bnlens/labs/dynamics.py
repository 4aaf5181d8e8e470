"""Lab: order parameters along training, for SGD, weight normalization, gamma decay and batch normalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bnlens._progress import Counter
from bnlens.errors import UsageError
from bnlens.labs._lab import Command, Example, Lab, State, Step
from bnlens.labs._parameters import (
    BATCH_SIZE,
    RUNS,
    UNIT,
    Choice,
    Option,
    Real,
    Whole,
    optional_zeta,
    simulation,
    sizes,
    switch,
    value_text,
)
from bnlens.labs._result import Headline, Result, Table, add_simulated, call, join, records, simulated_records
from bnlens.render import PALETTE, add_line, dense, new_figure, number
from bnlens.theory import dynamics, paper_zeta
from bnlens.theory.dynamics import COLUMNS, System, Trajectory

__all__ = ["LAB"]

_POINTS = 201
_TABLE_EVERY = 20  # eleven rows; simulated points lie on them
_SHORTEST = 1e-9
_MOST_WORK = 4e9  # size x steps x batch size x runs that a simulation may have
_SHOWN = {"tau": "τ", "gamma": "γ", "R": "R", "L": "L", "generalization_error": "Generalization error"}
_LINES = {**COLUMNS, "generalization_error": "error"}
_HEADINGS = {
    **_SHOWN,
    **{f"model_{name}": f"{_SHOWN[name]}, paper's model" for name in ("gamma", "R")},
    **{f"simulated {name}": f"{_SHOWN[name]}, simulated" for name in COLUMNS},
}
_KINDS: dict[str, type[System]] = {
    "batch-norm": dynamics.BatchNorm,
    "gamma-decay": dynamics.GammaDecay,
    "weight-norm": dynamics.WeightNorm,
    "sgd": dynamics.SGD,
}


def _arguments(state: State) -> dict[str, Any]:
    """Return the arguments of a state's system; gamma decay without a zeta has the paper's for the batch size."""
    arguments = {name: state[name] for name in ("unit", "learning_rate", "batch_size", "label_noise")}
    if state["system"] == "gamma-decay":
        zeta = state["zeta"]
        arguments["zeta"] = paper_zeta(state["unit"], state["batch_size"]) if zeta is None else zeta
    return arguments


def _start(state: State) -> dict[str, Any]:
    return {"gamma": state["gamma"], "R": state["overlap"], "L": state["norm"]}


def _drawn(state: State) -> dict[str, Any]:
    return {"size": int(state["size"]), "runs": state["runs"], "seed": state["seed"]}


def _rows(
    trajectory: Trajectory, state: State, every: int = 1, progress: Counter | None = None
) -> list[dict[str, Any]]:
    """Return the order parameters at every so many times, with those of students beside them if they are asked for."""
    rows = records(trajectory, ("tau", *COLUMNS))[::every]
    if state["simulate"] == "no":
        return rows
    from bnlens.simulate import simulate_dynamics

    system, times = trajectory.system, trajectory.tau[::every]
    simulated = simulate_dynamics(system, times, **_start(state), **_drawn(state), progress=progress)
    return join(rows, simulated_records(simulated, COLUMNS))


def _compute(state: State) -> Result:
    state = {**state, "gamma": None} if state["system"] == "sgd" else state
    system = _KINDS[state["system"]](**_arguments(state))
    state, trajectory = _solved(system, state)
    times, model = trajectory.tau, None
    rows = _rows(trajectory, state, _TABLE_EVERY)
    if isinstance(system, dynamics.BatchNorm) and state["beside"] == "yes":
        model = system.as_gamma_decay().solve(times, **_start(state))
        rows = join(rows, records(model, ("gamma", "R"), "model_{}")[::_TABLE_EVERY])
    last = rows[-1]
    return Result(
        figure=_figure(trajectory, rows, state, model),
        caption=(
            f"{LAB.label('system', state)}, {state['unit'].replace('relu', 'ReLU')} unit: order parameters over time. "
            f"η = {number(state['learning_rate'])}, M = {state['batch_size']}, S = {number(state['label_noise'])}."
        ),
        description=(
            f"Line chart. At τ = {number(last['tau'])} gamma is {number(last['gamma'])}, the overlap R is {number(last['R'])} "
            f"and the norm L is {number(last['L'])}; the generalization error is {number(last['generalization_error'])}."
        ),
        headlines=_headlines(last, trajectory),
        rows=rows,
        columns=_HEADINGS,
        table="Order parameters by time",
        code=_code(state),
        notes=_notes(state),
    )


def _solved(system: System, state: State) -> tuple[State, Trajectory]:
    """Return the trajectory, and the state with the time at which it ends; half of its time or less of weights that diverge."""
    try:
        return state, system.solve(np.linspace(0, state["tau"], _POINTS), **_start(state))
    except UsageError:
        if state["tau"] < _SHORTEST:
            raise
        return _solved(system, {**state, "tau": float(f"{state['tau'] / 2:.3g}"), "diverges": True})


def _tabulate(state: State, progress: Counter) -> Table:
    system = _KINDS[state["system"]](**_arguments(state))
    trajectory = system.solve(state["tau"], **_start(state))
    rows = _rows(trajectory, state, progress=progress)
    curve = partial(system.solve, dense([0.0, *state["tau"]]), **_start(state))
    facts = {"system": state["system"], **_arguments(state), "zeta": getattr(system, "zeta", None)}
    facts |= _drawn(state) if state["simulate"] == "yes" else {}
    return Table(
        rows=rows,
        facts=facts,
        title=f"Learning dynamics: {state['system']}, {state['unit']} unit",
        words=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None),
        draw=lambda: _figure(curve(), rows, state),
    )


def _figure(
    trajectory: Trajectory, rows: Sequence[Mapping[str, Any]], state: State, model: Trajectory | None = None
) -> Any:
    figure = new_figure(x="time τ = steps / N", y="order parameter", height=460)
    for (name, label), color in zip(_LINES.items(), PALETTE, strict=False):
        if trajectory.system.tied and name == "gamma":
            continue  # the same curve as L
        dash = "dot" if name == "generalization_error" else "solid"
        add_line(figure, label, trajectory.tau, getattr(trajectory, name), color=color, dash=dash)
        if model is not None and name in ("gamma", "R"):
            beside = f"{label}, model"
            add_line(figure, beside, model.tau, getattr(model, name), color=color, dash="dash", width=1.5)
        add_simulated(figure, f"{label}, N = {state['size']}", rows, "tau", name, color=color)
    return figure


def _headlines(last: Mapping[str, Any], trajectory: Trajectory) -> list[Headline]:
    at = f"at τ = {number(last['tau'])}"
    headlines = [
        Headline("gamma", f"γ {at}", last["gamma"]),
        Headline("overlap", f"Overlap R {at}", last["R"]),
        Headline("norm", f"Norm L {at}", last["L"]),
        Headline("error", "Generalization error", last["generalization_error"], note="against clean labels"),
        Headline("effective", "Effective learning rate", float(trajectory.effective_learning_rate[-1]), note="ηγ/L²"),
    ]
    if "simulated R" in last:
        at = f"R {at}, simulated"
        headlines.append(Headline("simulated-overlap", at, last["simulated R"], last["simulated R stderr"]))
    return headlines


def _notes(state: State) -> list[str]:
    notes = []
    if state.get("diverges"):
        notes.append(
            f"With this learning rate the weights grow without bound: shown until τ = {number(state['tau'])}, and before twice "
            "that time they diverge."
        )
    if state["system"] == "gamma-decay":
        notes.append(
            "With gamma decay R = 1 is no fixed point: the shrunk γ leaves errors that keep the weights moving and growing."
        )
    if state["simulate"] == "yes":
        notes.append(
            f"Points: {state['runs']} students of {state['size']} weights trained by the algorithm itself, ± one standard "
            "error. Finite N moves them by about 1/N."
        )
    return notes


def _code(state: State) -> str:
    kind = _KINDS[state["system"]].__name__
    times = call("np.linspace", "0", value_text(state["tau"]), str(1 + _POINTS // _TABLE_EVERY))
    start = {name: value for name, value in _start(state).items() if value is not None}
    lines = [
        "import numpy as np",
        f"from bnlens.theory.dynamics import {kind}",
        "",
        f"system = {call(kind, **_arguments(state))}",
        f"times = {times}",
        f"trajectory = {call('system.solve', 'times', **start)}",
        "print(trajectory.to_frame().to_string())",
        'print("effective learning rate:", trajectory.effective_learning_rate[-1])',
    ]
    if state["system"] == "batch-norm" and state["beside"] == "yes":
        lines.append(f"model = {call('system.as_gamma_decay().solve', 'times', **start)}")
        lines.append("print(model.to_frame().to_string())")
    if state["simulate"] == "yes":
        lines.insert(1, "from bnlens.simulate import simulate_dynamics")
        lines.append(f"students = {call('simulate_dynamics', 'system', 'times', **start, **_drawn(state))}")
        lines.append("print(students.to_frame().to_string())")
    return "\n".join(lines)


def _check(state: State) -> Mapping[str, str]:
    if state["simulate"] == "yes":
        work = float(state["size"]) ** 2 * state["tau"] * state["batch_size"] * state["runs"]
        if work > _MOST_WORK:
            remedy = "take fewer weights N, runs or samples M, or end earlier."
            return {"size": f"This simulation is too large for the page: {remedy}"}
    return {}


_HELP = "Order parameters along training: gamma, overlap R, norm L and generalization error over tau = steps / N."
_MODEL = "Gamma decay is the paper's model of batch normalization."
_LABELS = {
    "batch-norm": "Batch normalization",
    "gamma-decay": "Weight norm. + gamma decay",
    "weight-norm": "Weight normalization",
    "sgd": "Plain SGD",
}
_TRAINED = Option("What is trained.", argument=True)
_RATE = Option("Learning rate.", "ETA")
_SMALLEST = {"system": {"batch-norm": (dynamics.BatchNorm.smallest_batch, 256)}}
_FOUR = "With batch normalization from 4: below, E[1/σ²] is infinite."
_EMPTY = "Empty: 3/(4M) for linear, 3/(8M) for ReLU units."
_ELSEWHERE = "is the coefficient of gamma-decay; leave it out for {}"
_ZETA = Option(
    "Coefficient of gamma-decay.", "ZETA", shown="the paper's for M", only=("gamma-decay",), refusal=_ELSEWHERE
)
_BESIDE = "Gamma decay with the paper's ζ, dashed: the model."
_NOISE = Option("Variance of the noise on the labels.", "S", 0.0)
_TIMES = Option("Times in steps per weight, as 0,1,10 or START:STOP:STEP.", "LIST", "0:10:0.5", numbers=True)
_NORMALIZED = {"system": ("weight-norm", "gamma-decay", "batch-norm")}
_GAMMA = Option("Gamma at the start.", "G", None, shown="1, or the norm for sgd")
_OVERLAP = Option("Overlap with the teacher at the start.", "R", 0.0)
_NORM = Option("Norm of the weights at the start.", "L")
_SIZE = Option("Weights of a simulated student.", "N", 1000)

LAB = Lab(
    id="dynamics",
    title="Learning dynamics",
    question="How do scale, direction and length of the weights move along training, with and without batch normalization?",
    parameters=(
        Choice("system", "Trained by", "batch-norm", _LABELS, help=_MODEL, option=_TRAINED),
        UNIT,
        Real("learning_rate", "Learning rate", 1.0, 0.01, 50, symbol="η", log=True, option=_RATE),
        Whole(
            "batch_size", "Batch size", 8, 1, 256, symbol="M", log=True, within=_SMALLEST, help=_FOUR, option=BATCH_SIZE
        ),
        optional_zeta(0, when={"system": ("gamma-decay",)}, help=_EMPTY, option=_ZETA),
        switch("beside", "Paper's model beside it", default=True, when={"system": ("batch-norm",)}, help=_BESIDE),
        Real("label_noise", "Label noise, variance", 0.25, 0, 4, 0.05, symbol="S", option=_NOISE),
        Real("tau", "Until time", 10.0, 0.5, 200, symbol="τ", log=True, option=_TIMES),
        Real("gamma", "Start", 0.3, 0, 3, 0.05, symbol="γ", when=_NORMALIZED, group="Start", option=_GAMMA),
        Real("overlap", "Start", 0.2, -1, 1, 0.05, symbol="R", group="Start", option=_OVERLAP),
        Real("norm", "Start", 1.0, 0.1, 5, 0.1, symbol="L", group="Start", option=_NORM),
        *simulation(
            "Train students of N weights; takes seconds.",
            sizes("size", "Weights", 200, 100, 200, 400, 800, symbol="N", option=_SIZE),
            Whole("runs", "Runs", 16, 2, 64, option=RUNS),
        ),
    ),
    compute=_compute,
    command=Command(_HELP, _tabulate),
    check=_check,
    formulas=(
        Step(
            r"Weights learn with rate $\eta$, the scale with $\eta/N$, and every step sees $M$ new samples; $\tau$ is steps "
            r"over $N$. With the effective rate $e = \eta\gamma/L^2$ and averages over batches, as $N$ goes to infinity:",
            r"\frac{d\gamma}{d\tau} = \eta \, \text{gain}, \quad \frac{dR}{d\tau} = e \, \text{alignment} - \frac{R e^2}{2} "
            r"\text{noise}, \quad \frac{dL}{d\tau} = \frac{L e^2}{2} \text{noise}",
        ),
        Step(
            "Batch normalization of a linear unit, exactly, with $c_M$ and $b_M$ the means of $S$ and $1/S$ of a Gaussian "
            "batch:",
            r"\text{gain} = R c_M - \gamma, \quad \text{alignment} = \frac{M-2}{M} b_M (1 - R^2), \quad "
            r"\text{noise} = \frac{(M-2)(1 - R^2 + S)}{M (M-3)}",
        ),
        Step(
            "Gamma decay adds to weight normalization",
            r"\text{gain}_\text{decay} = \text{gain}_\text{WN} - 2 \zeta \gamma",
        ),
    ),
    examples=(
        Example(
            "Batch normalization against students",
            {"simulate": "yes"},
            "Curve and training agree for all three order parameters.",
        ),
        Example(
            "The paper's model drifts",
            {"label_noise": 0, "tau": 100},
            "Batch normalization reaches R = 1 and stays; its model by gamma decay shrinks γ more and never quite gets there.",
        ),
        Example(
            "ReLU units learn slower",
            {"unit": "relu", "tau": 20},
            "Here the paper's model turns faster than batch normalization does.",
        ),
        Example(
            "Weights that grow",
            {"system": "weight-norm", "batch_size": 1, "learning_rate": 4},
            "Noise lengthens the weights, and a longer weight turns more slowly: the effective rate falls of itself.",
        ),
    ),
    source="Theory sheet B.0, B.1 and B.3",
    grid=("system", "unit"),
)
