"""Lab: generalization over the load, estimators side by side, against students trained on drawn training sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnlens.render import PALETTE, new_figure, number
from bnlens.theory import generalization as theory
from bnlens.theory.generalization import Estimator, LearningCurve, learning_curve
from bnlens.web.labs._lab import Cost, Example, Lab, State, Step
from bnlens.web.labs._parameters import Choice, Real, Whole, switch
from bnlens.web.labs._result import Headline, Result

__all__ = ["LAB"]

_SIMULATED = (0.5, 0.8, 1.25, 1.5, 2.0, 3.0, 4.0)
_HEADINGS = {
    "alpha": "α",
    "error": "Error",
    "least_squares": "Least squares",
    "simulated error": "Simulated",
    "training_error": "Training error",
    "cosine": "Cosine with the teacher",
    "norm": "|v|²/N",
}


def build_estimator(state: State) -> Estimator:
    """Return the estimator that a state names."""
    noise = state["label_noise"]
    match state["estimator"]:
        case "least-squares":
            return theory.LeastSquares(label_noise=noise)
        case "ridge":
            return theory.Ridge(decay=state["decay"], label_noise=noise)
        case "gamma-decay":
            zeta = 3 / (4 * state["batch_size"]) if state["zeta"] is None else state["zeta"]
            return theory.WeightNormDecay(zeta=zeta, label_noise=noise)
        case "batch-norm":
            return theory.BatchNorm(batch_size=state["batch_size"], label_noise=noise)
        case _:
            return theory.ReluRidge(decay=state["decay"], label_noise=noise, teacher=state["teacher"])


def _compute(state: State) -> Result:
    estimator = build_estimator(state)
    loads = sorted({*np.round(np.linspace(0.1, 4, 40), 2).tolist(), state["alpha"], *_SIMULATED})
    curve = learning_curve(estimator, loads)
    plain = None
    if state["estimator"] not in ("least-squares", "relu"):
        plain = learning_curve(theory.LeastSquares(label_noise=state["label_noise"]), loads)
    simulated = _simulate(estimator, state) if state["simulate"] == "yes" else {}
    rows = [_row(curve, plain, simulated, index) for index in range(len(loads))]
    at = next(row for row in rows if row["alpha"] == state["alpha"])
    headlines = [
        Headline("error", f"Error at α = {number(state['alpha'])}", at["error"], note="against clean labels"),
        Headline("cosine", "Cosine with the teacher", at["cosine"]),
        Headline("training", "Training error", at["training_error"]),
    ]
    if plain is not None:
        headlines.append(Headline("least-squares", "Error of least squares", at["least_squares"]))
    if "simulated error" in at:
        headlines.append(Headline("simulated", "Simulated", at["simulated error"], at["simulated error stderr"]))
    status = {"exact": "exact", "asymptotic": "exact as N goes to infinity", "approximate": "approximate"}[curve.status]
    return Result(
        figure=_figure(curve, rows, state),
        caption=f"Generalization error of {estimator.title} over the load; the curve is {status}.",
        description=_description(rows, at, plain is not None),
        headlines=headlines,
        rows=rows,
        columns={name: heading for name, heading in _HEADINGS.items() if any(name in row for row in rows)},
        table="Generalization by load",
        code=_code(estimator, state),
        notes=_notes(curve, state),
    )


def _simulate(estimator: Estimator, state: State) -> dict[float, tuple[float, float]]:
    from bnlens.simulate.generalization import simulate_learning_curve

    loads = sorted({*_SIMULATED, state["alpha"]})
    found = simulate_learning_curve(
        estimator, loads, dimension=int(state["dimension"]), runs=state["runs"], seed=state["seed"]
    )
    pairs = zip(found.error.tolist(), found.error_stderr.tolist(), strict=True)
    return dict(zip(loads, pairs, strict=True))


def _row(
    curve: LearningCurve, plain: LearningCurve | None, simulated: Mapping[float, tuple[float, float]], index: int
) -> dict[str, Any]:
    alpha = float(curve.alpha[index])
    row: dict[str, Any] = {"alpha": alpha, "error": float(curve.error[index])}
    if plain is not None:
        row["least_squares"] = float(plain.error[index])
    if alpha in simulated:
        row["simulated error"], row["simulated error stderr"] = simulated[alpha]
    with np.errstate(invalid="ignore"):
        cosine = float(curve.cosine[index])
    return row | {
        "training_error": float(curve.training_error[index]),
        "cosine": cosine,
        "norm": float(curve.norm[index]),
    }


def _figure(curve: LearningCurve, rows: list[dict[str, Any]], state: State) -> Any:
    figure = new_figure(x="load α = P/N", y="generalization error", yaxis_type="log", height=440)
    series = [("error", curve.estimator.title, PALETTE[0], "dash" if curve.status == "approximate" else "solid")]
    if "least_squares" in rows[0]:
        series.append(("least_squares", "least squares", PALETTE[4], "dot"))
    for name, label, color, dash in series:
        figure.add_scatter(
            x=[row["alpha"] for row in rows],
            y=[row[name] if math.isfinite(row[name]) else None for row in rows],
            mode="lines",
            name=label,
            line={"color": color, "dash": dash},
        )
    points = [row for row in rows if "simulated error" in row]
    if points:
        figure.add_scatter(
            x=[row["alpha"] for row in points],
            y=[row["simulated error"] for row in points],
            error_y={"array": [row["simulated error stderr"] for row in points]},
            mode="markers",
            name=f"simulated, N = {state['dimension']}",
            marker={"color": PALETTE[1]},
        )
    figure.add_vline(x=state["alpha"], line={"color": PALETTE[4], "width": 1, "dash": "dot"})
    return figure


def _description(rows: list[dict[str, Any]], at: Mapping[str, Any], beside: bool) -> str:
    finite = [row for row in rows if math.isfinite(row["error"])]
    peak = max(finite, key=lambda row: float(row["error"]))
    diverges = len(finite) < len(rows)
    text = (
        f"Line chart. The error is {number(rows[0]['error'])} at α = {number(rows[0]['alpha'])} and "
        f"{number(rows[-1]['error'])} at α = {number(rows[-1]['alpha'])}; "
        + (
            "it diverges at α = 1."
            if diverges
            else f"it is largest, {number(peak['error'])}, at α = {number(peak['alpha'])}."
        )
    )
    if beside:
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


def _code(estimator: Estimator, state: State) -> str:
    lines = [
        f"from bnlens.theory.generalization import {type(estimator).__name__}, learning_curve",
        "",
        f"estimator = {_call(estimator)}",
        f"learning_curve(estimator, alpha=[0.5, 1, {state['alpha']:g}]).to_frame()",
    ]
    if state["simulate"] == "yes":
        lines.insert(0, "from bnlens.simulate.generalization import simulate_learning_curve")
        lines.append(
            f"simulate_learning_curve(estimator, alpha=[{state['alpha']:g}], dimension={state['dimension']}, "
            f"runs={state['runs']}, seed={state['seed']}).to_frame()"
        )
    return "\n".join(lines)


def _call(estimator: Estimator) -> str:
    names = ("decay", "zeta", "batch_size", "label_noise", "teacher")
    given = [f"{name}={getattr(estimator, name)!r}" for name in names if hasattr(estimator, name)]
    return f"{type(estimator).__name__}({', '.join(given)})"


def _cost(state: State) -> Cost:
    return "long" if state["simulate"] == "yes" else "instant"


_SIMULATING: dict[str, Any] = {"when": {"simulate": ("yes",)}, "group": "Students of finite size"}

LAB = Lab(
    id="generalization",
    title="Generalization over the load",
    question="How well does a student trained on P samples of N inputs generalise, and is batch normalization a ridge?",
    parameters=(
        Choice(
            name="estimator",
            label="Fitted by",
            default="batch-norm",
            options={
                "batch-norm": "Batch normalization",
                "gamma-decay": "Weight norm. + gamma decay",
                "ridge": "Ridge",
                "least-squares": "Least squares",
                "relu": "ReLU student with decay",
            },
        ),
        Whole(
            name="batch_size",
            label="Statistics batch size",
            symbol="M",
            default=8,
            minimum=4,
            maximum=1024,
            log=True,
            when={"estimator": ("batch-norm", "gamma-decay")},
        ),
        Real(
            name="zeta",
            label="Gamma decay",
            symbol="ζ",
            default=None,
            minimum=0.001,
            maximum=2,
            step=0.01,
            empty="the paper's",
            when={"estimator": ("gamma-decay",)},
            help="Of the mean loss. Empty: 3/(4M).",
        ),
        Real(
            name="decay",
            label="Decay",
            symbol="λ",
            default=0.25,
            minimum=0.01,
            maximum=10,
            log=True,
            when={"estimator": ("ridge", "relu")},
            help="Of the sum of losses.",
        ),
        Choice(
            name="teacher",
            label="Teacher",
            default="relu",
            options={"relu": "ReLU", "linear": "Linear"},
            when={"estimator": ("relu",)},
        ),
        Real(
            name="label_noise", label="Label noise, variance", symbol="S", default=0.25, minimum=0, maximum=4, step=0.05
        ),
        Real(
            name="alpha",
            label="Load",
            symbol="α",
            default=2.0,
            minimum=0.1,
            maximum=4,
            step=0.05,
            help="P/N, for the numbers above the figure.",
        ),
        switch(
            name="simulate",
            label="Simulate",
            help="Train students on drawn training sets; takes seconds.",
            group="Students of finite size",
        ),
        Choice(
            name="dimension",
            label="Inputs",
            symbol="N",
            default="50",
            options={"50": "50", "100": "100", "200": "200"},
            **_SIMULATING,
        ),
        Whole(name="runs", label="Training sets", default=20, minimum=2, maximum=60, **_SIMULATING),
        Whole(name="seed", label="Seed", default=0, minimum=0, maximum=999_999, **_SIMULATING),
    ),
    compute=_compute,
    formulas=(
        Step(
            "Error against labels without noise of a student v of a teacher w*.",
            r"\epsilon = \frac{1}{2} E \left[ (g(w^* \cdot x) - g(v \cdot x))^2 \right]",
        ),
        Step(
            "Ridge, and weight normalization with gamma decay, which is ridge with λ = 2αζ:",
            r"\epsilon = \frac{1}{2} \left[ -\lambda^2 m' + S (m + \lambda m') \right], \quad "
            r"\lambda m^2 + (\lambda + \alpha - 1) m = 1",
        ),
        Step(
            "Batch normalization on a fixed training set is shrunken least squares, not ridge. Above α = 1, with c close to "
            "1 − 3/(4M):",
            r"\epsilon_{BN} = \frac{1}{2} \left[ (1 - c)^2 + \frac{c^2 S}{\alpha - 1} \right]",
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
    cost=_cost,
    grid=("estimator",),
)
