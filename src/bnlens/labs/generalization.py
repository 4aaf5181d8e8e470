"""Lab: generalization over the load, estimators side by side, against students trained on drawn training sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bnlens._progress import Counter
from bnlens.labs._lab import Command, Example, Lab, State, Step
from bnlens.labs._parameters import RUNS, Choice, Option, Real, Whole, optional_zeta, simulation, sizes, value_text
from bnlens.labs._result import (
    Headline,
    Result,
    Table,
    add_simulated,
    call,
    join,
    records,
    simulated_records,
)
from bnlens.render import PALETTE, add_line, dense, new_figure, number
from bnlens.theory import generalization as theory
from bnlens.theory import paper_zeta
from bnlens.theory.generalization import Estimator, LearningCurve, learning_curve

__all__ = ["LAB"]

_BETWEEN = 120  # points of a curve between those of the table
_SIMULATED = (0.5, 0.8, 1.25, 1.5, 2.0, 3.0, 4.0)
_COLUMNS = ("error", "noisy_error", "training_error", "overlap", "norm", "cosine")
_DRAWN = ("error", "overlap", "norm", "training_error")
_HEADINGS = {
    "alpha": "α",
    "error": "Error",
    "least_squares": "Least squares",
    "simulated error": "Simulated",
    "training_error": "Training error",
    "cosine": "Cosine with the teacher",
    "norm": "|v|²/N",
}
_ORDER = [column for name in _HEADINGS for column in (name, f"{name} stderr")]
_STATUS = {"exact": "exact", "asymptotic": "exact as N goes to infinity", "approximate": "approximate"}


def _estimator(state: State) -> tuple[type[Estimator], dict[str, Any]]:
    """Return the class of a state's estimator and its arguments."""
    noise = {"label_noise": state["label_noise"]}
    match state["estimator"]:
        case "least-squares":
            return theory.LeastSquares, noise
        case "ridge":
            return theory.Ridge, {"decay": state["decay"], **noise}
        case "gamma-decay":
            zeta = paper_zeta("linear", state["batch_size"]) if state["zeta"] is None else state["zeta"]
            return theory.WeightNormDecay, {"zeta": zeta, **noise}
        case "batch-norm":
            return theory.BatchNorm, {"batch_size": state["batch_size"], **noise}
        case _:
            return theory.ReluRidge, {"decay": state["decay"], **noise, "teacher": state["teacher"] or "relu"}


def _drawn(state: State) -> dict[str, Any]:
    return {"dimension": int(state["dimension"]), "runs": state["runs"], "seed": state["seed"]}


def _simulated(
    estimator: Estimator, loads: Sequence[float], state: State, names: Sequence[str], progress: Counter | bool = False
) -> list[dict[str, Any]]:
    from bnlens.simulate.generalization import simulate_learning_curve

    return simulated_records(simulate_learning_curve(estimator, loads, **_drawn(state), progress=progress), names)


def _compute(state: State) -> Result:
    kind, arguments = _estimator(state)
    estimator = kind(**arguments)
    loads = sorted({*np.round(np.linspace(0.1, 4, 40), 2).tolist(), state["alpha"], *_SIMULATED})
    curve = learning_curve(estimator, loads)
    rows = records(curve, ("alpha", *_COLUMNS))
    if state["estimator"] not in ("least-squares", "relu"):
        plain = learning_curve(theory.LeastSquares(label_noise=state["label_noise"]), loads)
        rows = join(rows, records(plain, ("error",), "least_squares"))
    if state["simulate"] == "yes":
        drawn = sorted({*_SIMULATED, state["alpha"]})
        points = dict(zip(drawn, _simulated(estimator, drawn, state, ("error",)), strict=True))
        rows = [row | points.get(row["alpha"], {}) for row in rows]
    rows = [{name: row[name] for name in _ORDER if name in row} for row in rows]
    at = next(row for row in rows if row["alpha"] == state["alpha"])
    return Result(
        figure=_figure(curve, rows, state),
        caption=f"Generalization error of {estimator.title} over the load; the curve is {_STATUS[curve.status]}.",
        description=_description(rows, at),
        headlines=_headlines(at),
        rows=rows,
        columns=_HEADINGS,
        table="Generalization by load",
        code=_code(state),
        notes=_notes(curve, state),
    )


def _tabulate(state: State, progress: Counter) -> Table:
    kind, arguments = _estimator(state)
    estimator, loads = kind(**arguments), state["alpha"]
    curve = learning_curve(estimator, loads)
    rows = [{**row, "status": curve.status} for row in records(curve, ("alpha", *_COLUMNS))]
    given = {name: state[name] for name in ("decay", "zeta", "batch_size") if state[name] is not None}
    facts = {"estimator": state["estimator"], "label_noise": state["label_noise"], **given}
    if state["simulate"] == "yes":
        rows = join(rows, _simulated(estimator, loads, state, _DRAWN, progress))
        facts |= _drawn(state)
    return Table(
        rows=rows,
        facts=facts | {"status": curve.status, "basis": curve.basis},
        title=f"Generalization: {estimator.title}",
        words=curve.basis,
        draw=partial(_figure, curve, rows, state),
    )


def _figure(curve: LearningCurve, rows: Sequence[Mapping[str, Any]], state: State) -> Any:
    """Return the curve through the loads of ``curve``, least squares beside it if rows have it, and what was simulated."""
    figure = new_figure(x="load α = P/N", y="generalization error", yaxis_type="log", height=440)
    loads = dense(curve.alpha, _BETWEEN)
    smooth = learning_curve(curve.estimator, loads)
    dash = "dash" if curve.status == "approximate" else "solid"
    add_line(figure, curve.estimator.title, loads, smooth.error, color=PALETTE[0], dash=dash)
    if "least_squares" in rows[0]:
        plain = learning_curve(theory.LeastSquares(label_noise=state["label_noise"]), loads)
        add_line(figure, "least squares", loads, plain.error, color=PALETTE[4], dash="dot")
    add_simulated(figure, f"simulated, N = {state['dimension']}", rows, "alpha", "error", color=PALETTE[1])
    if not isinstance(state["alpha"], list):
        figure.add_vline(x=state["alpha"], line={"color": PALETTE[4], "width": 1, "dash": "dot"})
    return figure


def _headlines(at: Mapping[str, Any]) -> list[Headline]:
    headlines = [
        Headline("error", f"Error at α = {number(at['alpha'])}", at["error"], note="against clean labels"),
        Headline("cosine", "Cosine with the teacher", at["cosine"]),
        Headline("training", "Training error", at["training_error"]),
    ]
    if "least_squares" in at:
        headlines.append(Headline("least-squares", "Error of least squares", at["least_squares"]))
    if "simulated error" in at:
        headlines.append(Headline("simulated", "Simulated", at["simulated error"], at["simulated error stderr"]))
    return headlines


def _description(rows: Sequence[Mapping[str, Any]], at: Mapping[str, Any]) -> str:
    finite = [row for row in rows if math.isfinite(row["error"])]
    peak = max(finite, key=lambda row: float(row["error"]))
    most = f"it is largest, {number(peak['error'])}, at α = {number(peak['alpha'])}."
    text = (
        f"Line chart. The error is {number(rows[0]['error'])} at α = {number(rows[0]['alpha'])} and "
        f"{number(rows[-1]['error'])} at α = {number(rows[-1]['alpha'])}; "
        + ("it diverges at α = 1." if len(finite) < len(rows) else most)
    )
    if "least_squares" in at:
        text += f" At α = {number(at['alpha'])} it is {number(at['error'])}, with least squares {number(at['least_squares'])}."
    return text


def _notes(curve: LearningCurve, state: State) -> list[str]:
    notes = [curve.basis if curve.basis.endswith(".") else f"{curve.basis}."]
    if state["simulate"] == "yes":
        notes.append(
            f"Points: {state['runs']} training sets at each load with N = {state['dimension']}, ± one standard error. Near "
            "α = 1 single runs are heavy-tailed."
        )
    return notes


def _code(state: State) -> str:
    kind, arguments = _estimator(state)
    alpha, beside = value_text(state["alpha"]), state["estimator"] not in ("least-squares", "relu")
    names = dict.fromkeys((kind.__name__, *(["LeastSquares"] if beside else []), "learning_curve"))
    lines = [
        "import numpy as np",
        f"from bnlens.theory.generalization import {', '.join(names)}",
        "",
        f"estimator = {call(kind.__name__, **arguments)}",
        f"loads = sorted({{*np.linspace(0.1, 4, 40).round(2).tolist(), {alpha}, *{_SIMULATED}}})",
        "print(learning_curve(estimator, loads).to_frame().to_string())",
    ]
    if beside:
        plain = call("LeastSquares", label_noise=state["label_noise"])
        lines.append(f'print(learning_curve({plain}, loads).to_frame()["error"].to_string())')
    if state["simulate"] == "yes":
        lines.insert(1, "from bnlens.simulate.generalization import simulate_learning_curve")
        loads = f"sorted({{*{_SIMULATED}, {alpha}}})"
        lines.append(f"drawn = {call('simulate_learning_curve', 'estimator', loads, **_drawn(state))}")
        lines.append("print(drawn.to_frame().to_string())")
    return "\n".join(lines)


_LABELS = {
    "batch-norm": "Batch normalization",
    "gamma-decay": "Weight norm. + gamma decay",
    "ridge": "Ridge",
    "least-squares": "Least squares",
    "relu": "ReLU student with decay",
}
_HELP = "Generalization error over the load alpha = P/N; the table says whether it is exact, asymptotic or approximate."
_FITTED = Option("How a student is fitted.", argument=True)
_SIZED = {"estimator": ("batch-norm", "gamma-decay")}
_DECAYED = {"estimator": ("ridge", "relu")}
_SUMMED = "Of the sum of losses."
_TEACHERS = {"relu": "ReLU", "linear": "Linear"}
_DECAY = Option(
    "Decay of ridge and relu, of summed losses.", "LAMBDA", None, shown=False, only=("ridge", "relu"), needed=True
)
_ZETA = Option("Coefficient of gamma-decay, of the mean loss.", "ZETA", shown=False, only=("gamma-decay",), needed=True)
_SIZE = Option("Statistics batch size of batch-norm.", "M", None, shown="8", short="-M", only=("batch-norm",))
_TEACHER = Option("Activation of the teacher of relu.", default=None, shown="relu", only=("relu",))
_NOISE = Option("Variance of the noise on the labels.", "S")
_ALPHA = Option("Loads P/N, as 0.5,1,2 or START:STOP:STEP.", "LIST", "0.25:4:0.25", numbers=True)
_INPUTS = Option("Inputs of a simulated student.", "N", 100, minimum=1)

LAB = Lab(
    id="generalization",
    title="Generalization over the load",
    question="How well does a student trained on P samples of N inputs generalise, and is batch normalization a ridge?",
    parameters=(
        Choice("estimator", "Fitted by", "batch-norm", _LABELS, option=_FITTED),
        Whole("batch_size", "Statistics batch size", 8, 4, 1024, symbol="M", log=True, when=_SIZED, option=_SIZE),
        optional_zeta(
            0.001, when={"estimator": ("gamma-decay",)}, help="Of the mean loss. Empty: 3/(4M).", option=_ZETA
        ),
        Real("decay", "Decay", 0.25, 0.01, 10, symbol="λ", log=True, when=_DECAYED, help=_SUMMED, option=_DECAY),
        Choice("teacher", "Teacher", "relu", _TEACHERS, when={"estimator": ("relu",)}, option=_TEACHER),
        Real("label_noise", "Label noise, variance", 0.25, 0, 4, 0.05, symbol="S", option=_NOISE),
        Real(
            "alpha", "Load", 2.0, 0.1, 4, 0.05, symbol="α", help="P/N, for the numbers above the figure.", option=_ALPHA
        ),
        *simulation(
            "Train students on drawn training sets; takes seconds.",
            sizes("dimension", "Inputs", 50, 50, 100, 200, symbol="N", option=_INPUTS),
            Whole("runs", "Training sets", 20, 2, 60, option=RUNS),
        ),
    ),
    compute=_compute,
    command=Command(_HELP, _tabulate),
    formulas=(
        Step(
            "Error against labels without noise of a student $v$ of a teacher $w^*$.",
            r"\epsilon = \frac{1}{2} \mathbb{E} \left[ (g(w^* \cdot x) - g(v \cdot x))^2 \right]",
        ),
        Step(
            r"Ridge, and weight normalization with gamma decay, which is ridge with $\lambda = 2\alpha\zeta$:",
            r"\epsilon = \frac{1}{2} \left[ -\lambda^2 m' + S (m + \lambda m') \right], \quad "
            r"\lambda m^2 + (\lambda + \alpha - 1) m = 1",
        ),
        Step(
            r"Batch normalization on a fixed training set is shrunken least squares, not ridge. Above $\alpha = 1$, with $c$ "
            r"close to $1 - \frac{3}{4M}$:",
            r"\epsilon_\text{BN} = \frac{1}{2} \left[ (1 - c)^2 + \frac{c^2 S}{\alpha - 1} \right]",
        ),
    ),
    examples=(
        Example(
            "Batch normalization keeps the peak",
            {"alpha": 1.25, "simulate": "yes"},
            "Its penalty does not see the small eigenvalues that make the peak at α = 1.",
        ),
        Example(
            "Gamma decay has none",
            {"estimator": "gamma-decay", "alpha": 1.25},
            "The paper's model is a ridge: the peak is gone.",
        ),
        Example(
            "The best ridge",
            {"estimator": "ridge", "alpha": 1.0},
            "The best λ is the variance of the label noise, at every load.",
        ),
        Example(
            "A ReLU student",
            {"estimator": "relu", "simulate": "yes"},
            "The replica curve is approximate: within 5% for decays of 0.25 or more.",
        ),
    ),
    source="Theory sheet C",
    grid=("estimator",),
)
