"""Lab: order parameters along training, for SGD, weight normalization, gamma decay and batch normalization."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnlens.render import PALETTE, new_figure, number
from bnlens.theory import dynamics
from bnlens.theory.dynamics import System, Trajectory
from bnlens.web.labs._lab import Cost, Example, Lab, State, Step
from bnlens.web.labs._parameters import Choice, Real, Whole, switch
from bnlens.web.labs._result import Headline, Result

__all__ = ["LAB"]

_SOLVING = threading.Lock()  # LSODA of SciPy before 1.17 solves one system at a time in a process
_POINTS = 81
_TABLE_EVERY = 8  # eleven rows; simulated points lie on them
_MOST_WORK = 4e9  # size x steps x batch size x runs that a simulation may have
_NAMES = {"gamma": "gamma", "R": "overlap R", "L": "norm L", "generalization_error": "generalization error"}
_HEADINGS = {
    "tau": "τ",
    "gamma": "γ",
    "R": "R",
    "L": "L",
    "generalization_error": "Generalization error",
    "model_gamma": "γ, paper's model",
    "model_R": "R, paper's model",
    "simulated gamma": "γ, simulated",
    "simulated R": "R, simulated",
    "simulated L": "L, simulated",
}
_SYSTEMS = {"sgd": "SGD", "weight-norm": "WeightNorm", "gamma-decay": "GammaDecay", "batch-norm": "BatchNorm"}


def build_system(state: State) -> System:
    """Return the system that a state names; gamma decay without a zeta has the paper's for the batch size."""
    common: dict[str, Any] = {name: state[name] for name in ("unit", "learning_rate", "batch_size", "label_noise")}
    if state["system"] == "gamma-decay":
        zeta = state["zeta"]
        return dynamics.GammaDecay(
            **common, zeta=dynamics.paper_zeta(state["unit"], state["batch_size"]) if zeta is None else zeta
        )
    kinds: Mapping[str, type[System]] = {
        "sgd": dynamics.SGD,
        "weight-norm": dynamics.WeightNorm,
        "batch-norm": dynamics.BatchNorm,
    }
    return kinds[state["system"]](**common)


def _compute(state: State) -> Result:
    system = build_system(state)
    times = np.linspace(0, state["tau"], _POINTS)
    start = {"gamma": None if state["system"] == "sgd" else state["gamma"], "R": state["overlap"], "L": state["norm"]}
    model = _model(system, state)
    with _SOLVING:
        trajectory = system.solve(times, **start)
        beside = model.solve(times, **start) if model is not None else None
    simulated = _simulate(system, state, times, start) if state["simulate"] == "yes" else None
    rows = [_row(trajectory, beside, simulated, index) for index in range(0, _POINTS, _TABLE_EVERY)]
    title = f"{_label('system', state)}, {state['unit'].replace('relu', 'ReLU')} unit"
    last = rows[-1]
    return Result(
        figure=_figure(trajectory, beside, rows, state),
        caption=(
            f"{title}: order parameters over time. η = {number(state['learning_rate'])}, M = {state['batch_size']}, "
            f"S = {number(state['label_noise'])}."
        ),
        description=(
            f"Line chart. At τ = {number(last['tau'])} gamma is {number(last['gamma'])}, the overlap R is {number(last['R'])} "
            f"and the norm L is {number(last['L'])}; the generalization error is {number(last['generalization_error'])}."
        ),
        headlines=_headlines(rows[-1], trajectory),
        rows=rows,
        columns={name: heading for name, heading in _HEADINGS.items() if name in last},
        table="Order parameters by time",
        code=_code(system, state),
        notes=_notes(state),
    )


def _model(system: System, state: State) -> System | None:
    if isinstance(system, dynamics.BatchNorm) and state["beside"] == "yes":
        return system.as_gamma_decay()
    return None


def _simulate(system: System, state: State, times: Any, start: Mapping[str, Any]) -> Any:
    from bnlens.simulate import simulate_dynamics

    size, runs = int(state["size"]), state["runs"]
    return simulate_dynamics(system, times[::_TABLE_EVERY], **start, size=size, runs=runs, seed=state["seed"])


def _row(trajectory: Trajectory, beside: Trajectory | None, simulated: Any, index: int) -> dict[str, Any]:
    row = {"tau": float(trajectory.tau[index]), **{name: float(getattr(trajectory, name)[index]) for name in _NAMES}}
    if beside is not None:
        row |= {f"model_{name}": float(getattr(beside, name)[index]) for name in ("gamma", "R")}
    if simulated is not None:
        for name in ("gamma", "R", "L"):
            row[f"simulated {name}"] = float(getattr(simulated, name)[index // _TABLE_EVERY])
            row[f"simulated {name} stderr"] = float(getattr(simulated, f"{name}_stderr")[index // _TABLE_EVERY])
    return row


def _figure(trajectory: Trajectory, beside: Trajectory | None, rows: list[dict[str, Any]], state: State) -> Any:
    figure = new_figure(x="time τ = steps / N", y="order parameter", height=460)
    tied = state["system"] == "sgd"
    for (name, label), color in zip(_NAMES.items(), PALETTE, strict=False):
        if tied and name == "gamma":
            continue  # the same curve as L
        figure.add_scatter(
            x=trajectory.tau.tolist(),
            y=getattr(trajectory, name).tolist(),
            mode="lines",
            name=label,
            line={"color": color, "dash": "dot" if name == "generalization_error" else "solid"},
        )
        if beside is not None and name in ("gamma", "R"):
            figure.add_scatter(
                x=beside.tau.tolist(),
                y=getattr(beside, name).tolist(),
                mode="lines",
                name=f"{label}, paper's model",
                line={"color": color, "dash": "dash", "width": 1.5},
            )
        if f"simulated {name}" in rows[0]:
            figure.add_scatter(
                x=[row["tau"] for row in rows],
                y=[row[f"simulated {name}"] for row in rows],
                error_y={"array": [row[f"simulated {name} stderr"] for row in rows]},
                mode="markers",
                name=f"{label}, N = {state['size']}",
                marker={"color": color},
            )
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
        headlines.append(
            Headline("simulated-overlap", f"R {at}, simulated", last["simulated R"], last["simulated R stderr"])
        )
    return headlines


def _notes(state: State) -> list[str]:
    notes = []
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


def _code(system: System, state: State) -> str:
    kind = _SYSTEMS[state["system"]]
    zeta = f", zeta={system.zeta:g}" if isinstance(system, dynamics.GammaDecay) else ""
    gamma = "" if state["system"] == "sgd" else f"gamma={state['gamma']:g}, "
    start = f"{gamma}R={state['overlap']:g}, L={state['norm']:g}"
    lines = [
        "import numpy as np",
        f"from bnlens.theory.dynamics import {kind}",
        "",
        f'system = {kind}(unit="{state["unit"]}", learning_rate={state["learning_rate"]:g}, '
        f"batch_size={state['batch_size']}, label_noise={state['label_noise']:g}{zeta})",
        f"system.solve(np.linspace(0, {state['tau']:g}, 11), {start}).to_frame()",
    ]
    if state["simulate"] == "yes":
        lines.insert(1, "from bnlens.simulate import simulate_dynamics")
        lines.append(
            f"simulate_dynamics(system, np.linspace(0, {state['tau']:g}, 11), {start}, size={state['size']}, "
            f"runs={state['runs']}, seed={state['seed']}).to_frame()"
        )
    return "\n".join(lines)


def _check(state: State) -> Mapping[str, str]:
    if state["system"] == "batch-norm" and state["batch_size"] < dynamics.BatchNorm.smallest_batch:
        return {"batch_size": "Batch normalization needs a batch size M of 4 or more: below, E[1/σ²] is infinite."}
    if state["simulate"] == "yes":
        work = float(state["size"]) ** 2 * state["tau"] * state["batch_size"] * state["runs"]
        if work > _MOST_WORK:
            return {
                "size": "This simulation is too large for the page: take fewer weights N, runs or samples M, or end earlier."
            }
    return {}


def _cost(state: State) -> Cost:
    if state["simulate"] == "yes":
        return "long"
    # The ReLU unit's averages over batches are a table per M, half a second by quadrature.
    return "short" if state["system"] == "batch-norm" and state["unit"] == "relu" else "instant"


def _label(name: str, state: State) -> str:
    parameter = LAB.parameter(name)
    assert isinstance(parameter, Choice)  # noqa: S101 - for the type checker
    return parameter.options[state[name]]


_SIMULATING: dict[str, Any] = {"when": {"simulate": ("yes",)}, "group": "Students of finite size"}
_NORMALIZED = {"system": ("weight-norm", "gamma-decay", "batch-norm")}

LAB = Lab(
    id="dynamics",
    title="Learning dynamics",
    question="How do scale, direction and length of the weights move along training, with and without batch normalization?",
    parameters=(
        Choice(
            name="system",
            label="Trained by",
            default="batch-norm",
            options={
                "batch-norm": "Batch normalization",
                "gamma-decay": "Weight norm. + gamma decay",
                "weight-norm": "Weight normalization",
                "sgd": "Plain SGD",
            },
            help="Gamma decay is the paper's model of batch normalization.",
        ),
        Choice(name="unit", label="Unit", default="linear", options={"linear": "Linear", "relu": "ReLU"}),
        Real(name="learning_rate", label="Learning rate", symbol="η", default=1.0, minimum=0.01, maximum=50, log=True),
        Whole(name="batch_size", label="Batch size", symbol="M", default=8, minimum=1, maximum=256, log=True),
        Real(
            name="zeta",
            label="Gamma decay",
            symbol="ζ",
            default=None,
            minimum=0,
            maximum=2,
            step=0.01,
            empty="the paper's",
            when={"system": ("gamma-decay",)},
            help="Empty: 3/(4M) for linear, 3/(8M) for ReLU units.",
        ),
        switch(
            name="beside",
            label="Paper's model beside it",
            default=True,
            when={"system": ("batch-norm",)},
            help="Gamma decay with the paper's ζ, dashed.",
        ),
        Real(
            name="label_noise", label="Label noise, variance", symbol="S", default=0.25, minimum=0, maximum=4, step=0.05
        ),
        Real(name="tau", label="Until time", symbol="τ", default=10.0, minimum=0.5, maximum=200, log=True),
        Real(
            name="gamma",
            label="Start",
            symbol="γ",
            default=0.3,
            minimum=0,
            maximum=3,
            step=0.05,
            when=_NORMALIZED,
            group="Start",
        ),
        Real(name="overlap", label="Start", symbol="R", default=0.2, minimum=-1, maximum=1, step=0.05, group="Start"),
        Real(name="norm", label="Start", symbol="L", default=1.0, minimum=0.1, maximum=5, step=0.1, group="Start"),
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
            default="200",
            options={"100": "100", "200": "200", "400": "400", "800": "800"},
            **_SIMULATING,
        ),
        Whole(name="runs", label="Runs", default=16, minimum=2, maximum=64, **_SIMULATING),
        Whole(name="seed", label="Seed", default=0, minimum=0, maximum=999_999, **_SIMULATING),
    ),
    compute=_compute,
    check=_check,
    formulas=(
        Step(
            "Weights learn with rate η, the scale with η/N, and every step sees M new samples; τ is steps over N. With the "
            "effective rate e = ηγ/L² and averages over batches, as N goes to infinity:",
            r"\frac{d\gamma}{d\tau} = \eta \, gain, \quad \frac{dR}{d\tau} = e \, alignment - \frac{R e^2}{2} noise, \quad "
            r"\frac{dL}{d\tau} = \frac{L e^2}{2} noise",
        ),
        Step(
            "Batch normalization of a linear unit, exactly, with c and b the means of S and 1/S of a Gaussian batch:",
            r"gain = R c_M - \gamma, \quad alignment = \frac{M-2}{M} b_M (1 - R^2), \quad "
            r"noise = \frac{(M-2)(1 - R^2 + S)}{M (M-3)}",
        ),
        Step(
            "Gamma decay adds to weight normalization",
            r"gain_{decay} = gain_{WN} - 2 \zeta \gamma",
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
    cost=_cost,
    grid=("system", "unit"),
)
