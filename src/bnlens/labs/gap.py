"""Lab: the gap of one unit over the statistics batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnlens.labs._lab import Example, Lab, State, Step
from bnlens.labs._parameters import Choice, Real, Whole, simulation, sizes, value_text
from bnlens.labs._result import Headline, Result, add_curve, add_simulated, call
from bnlens.render import PALETTE, ROLES, new_figure, number
from bnlens.theory import GapLaw, gap_law, linear_gap, mean_std

__all__ = ["LAB"]

_POINTS = 100
_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SIMULATED = (8, 16, 32, 64, 128, 256)
_TEACHER = 0.8  # R of the linear unit's default teacher, sheet A.4
_LINES = {
    "own": ("own batch, law", PALETTE[0], "solid"),
    "fresh": ("fresh batch, law", PALETTE[2], "dot"),
    "two_term": ("two-term (paper)", ROLES["paper"]["color"], "dash"),
    "exact": ("own batch, exact", PALETTE[1], "longdash"),
}
_UNITS = {
    "linear": "Linear, squared loss",
    "relu": "ReLU, squared loss",
    "logistic": "Logistic, cross-entropy",
    "softplus_glm": "Softplus GLM (the paper's)",
    "poisson": "Poisson, softplus rate",
}
_DISTRIBUTIONS = {"gaussian": "Gaussian", "laplace": "Laplace", "exponential": "Exponential"}
_TAILS = "Laplace has heavy tails, exponential has skew as well."
_HESSIANS = {"exact": "Exact, with kinks", "gauss-newton": "Gauss–Newton"}
_KINKS = "Whether the kink of the loss counts."
_AXES = {"coefficient": "M × gap", "gap": "gap"}
_SEEN = "Samples that the layer sees at once."
_SYMBOLS = {"own": "circle", "fresh": "diamond"}
_HEADINGS = {
    "M": "M",
    "own": "Own batch, law",
    "fresh": "Fresh batch, law",
    "two_term": "Two-term (paper)",
    "exact": "Own batch, exact",
    "simulated own": "Own batch, simulated",
    "simulated fresh": "Fresh batch, simulated",
}


def _compute(state: State) -> Result:
    point = {"gamma": state["gamma"], "beta": state["beta"]}
    law = gap_law(state["unit"], state["distribution"], **point, hessian=state["hessian"])
    chosen = state["batch_size"]
    rows = [_row(law, state, size) for size in sorted({*_SIZES, chosen})]
    if state["simulate"] == "yes":
        for row in rows:
            if row["M"] in (*_SIMULATED, chosen):
                row |= _simulated(state, row["M"])
    at = next(row for row in rows if row["M"] == chosen)
    ratio = at["two_term"] / at["own"] if at["own"] else None
    unit = LAB.label("unit", state)
    unit = unit if unit.startswith("ReLU") else unit[0].lower() + unit[1:]
    return Result(
        figure=_figure(law, rows, state),
        caption=(
            f"Gap over the statistics batch size: {unit}, {LAB.label('distribution', state)} pre-activation, "
            f"γ = {number(state['gamma'])}, β = {number(state['beta'])}."
        ),
        description=_description(rows, at, ratio),
        headlines=_headlines(at, ratio),
        rows=rows,
        columns=_HEADINGS,
        table="Gap by batch size, nats per sample",
        code=_code(state, [row["M"] for row in rows]),
        notes=_notes(state, law),
    )


def _row(law: GapLaw, state: State, size: int) -> dict[str, Any]:
    own, fresh = float(law.gap(size, "own")), float(law.gap(size, "fresh"))
    row: dict[str, Any] = {"M": size, "own": own, "fresh": fresh, "two_term": law.two_term / size}
    if state["unit"] == "linear" and state["distribution"] == "gaussian":
        row["exact"] = float(linear_gap(state["gamma"], _TEACHER, mean_std(size)))
    return row


def _drawn(state: State, size: int) -> dict[str, Any]:
    """Return how a gap is simulated, all arguments but the unit, the distribution and the kind of statistics."""
    drawn = {"batch_size": size, "samples": max(int(state["samples"]), 50 * size), "seed": state["seed"]}
    return {"gamma": state["gamma"], "beta": state["beta"], **drawn}


def _simulated(state: State, size: int) -> dict[str, float]:
    from bnlens.simulate import simulate_gap

    found: dict[str, float] = {}
    for kind in ("own", "fresh"):
        estimate = simulate_gap(state["unit"], state["distribution"], statistics=kind, **_drawn(state, size))
        found |= {f"simulated {kind}": estimate.gap, f"simulated {kind} stderr": estimate.stderr}
    return found


def _figure(law: GapLaw, rows: Sequence[Mapping[str, Any]], state: State) -> Any:
    times = state["show"] == "coefficient"
    figure = new_figure(x="statistics batch size M", y="M × gap (nats)" if times else "gap (nats per sample)")
    M = [row["M"] for row in rows]
    smooth = [_row(law, state, size) for size in sorted({round(size) for size in np.geomspace(M[0], M[-1], _POINTS)})]
    curves, scaled = (
        [{k: v * (row["M"] if times and k != "M" else 1) for k, v in row.items()} for row in some]
        for some in (smooth, rows)
    )
    for name, (label, color, dash) in _LINES.items():
        if name in curves[0]:
            add_curve(figure, label, curves, "M", name, color=color, dash=dash)
    for kind, symbol in _SYMBOLS.items():
        add_simulated(figure, f"{kind} batch, simulated", scaled, "M", kind, color=_LINES[kind][1], symbol=symbol)
    edges = [math.log10(M[0] / 1.1), math.log10(M[-1] * 1.1)]
    figure.update_xaxes(type="log", range=edges, tickvals=M, ticktext=list(map(str, M)))
    figure.add_vline(x=state["batch_size"], line={"color": ROLES["paper"]["color"], "width": 1, "dash": "dot"})
    if all(value > 0 for trace in figure.data for value in trace.y):
        figure.update_yaxes(**({"rangemode": "tozero"} if times else {"type": "log"}))
    return figure


def _headlines(at: Mapping[str, Any], ratio: float | None) -> list[Headline]:
    unit = "nats per sample"
    headlines = [Headline("own", f"Gap at M = {at['M']}, own-batch law", at["own"], note=unit)]
    if "simulated own" in at:
        headlines.append(Headline("simulated-own", "Simulated", at["simulated own"], at["simulated own stderr"]))
    elif "exact" in at:
        headlines.append(Headline("exact", "Exact (linear unit, Gaussian)", at["exact"], note=unit))
    return [
        *headlines,
        Headline("two-term", "Two-term value (paper)", at["two_term"], note=unit),
        Headline("ratio", "Two-term over own-batch law", ratio),
        Headline("fresh", "Fresh-batch law", at["fresh"], note=unit),
    ]


def _description(rows: Sequence[Mapping[str, Any]], at: Mapping[str, Any], ratio: float | None) -> str:
    first, last = rows[0], rows[-1]
    text = (
        f"Line chart. From M = {first['M']} to {last['M']} the own-batch law goes from {number(first['own'])} to "
        f"{number(last['own'])} nats per sample, the fresh-batch law from {number(first['fresh'])} to "
        f"{number(last['fresh'])}. At M = {at['M']} the two-term value is {number(ratio)} times the own-batch law."
    )
    if "simulated own" in at:
        text += f" Simulated there: {number(at['simulated own'], at['simulated own stderr'])}."
    return text


def _notes(state: State, law: GapLaw) -> list[str]:
    notes = [
        "The laws are of first order in 1/M. Below M = 64 expect corrections of a few percent for Gaussian, more for "
        "heavy-tailed pre-activations, and much more for fresh batches."
    ]
    if abs(law.G_g) < 1e-9 and abs(law.T3) < 1e-9:
        notes.append("Here the unit is at a well-specified optimum: without skew the two-term value is right.")
    if state["hessian"] == "gauss-newton":
        notes.append("A Gauss–Newton Hessian drops the kinks of the loss; simulations do not.")
    return notes


def _code(state: State, sizes: Sequence[int]) -> str:
    kind, size = (f'"{state["unit"]}"', f'"{state["distribution"]}"'), state["batch_size"]
    hessian = {"hessian": state["hessian"]} if state["hessian"] == "gauss-newton" else {}
    is_exact = state["unit"] == "linear" and state["distribution"] == "gaussian"
    exact = f", linear_gap({value_text(state['gamma'])}, {_TEACHER}, mean_std(M))" if is_exact else ""
    lines = [
        f"from bnlens.theory import gap_law{', linear_gap, mean_std' if is_exact else ''}",
        "",
        f"law = {call('gap_law', *kind, gamma=state['gamma'], beta=state['beta'], **hessian)}",
        f"for M in {list(sizes)}:",
        f'    print(M, law.gap(M, "own"), law.gap(M, "fresh"), law.two_term / M{exact})',
        f'print("two-term over own batch:", law.two_term / {size} / law.gap({size}, "own"))',
    ]
    if state["simulate"] == "yes":
        drawn = _drawn(state, size)
        point = ", ".join(f"{name}={value_text(drawn[name])}" for name in ("gamma", "beta"))
        lines.insert(0, "from bnlens.simulate import simulate_gap")
        lines += [
            f"for M in {[size for size in sizes if size in (*_SIMULATED, state['batch_size'])]}:",
            f"    samples = max({state['samples']}, 50 * M)",
            '    for kind in ("own", "fresh"):',
            f"        drawn = simulate_gap({', '.join(kind)}, {point}, batch_size=M, samples=samples, seed={state['seed']}, "
            "statistics=kind)",
            "        print(M, kind, drawn.gap, drawn.stderr)",
        ]
    return "\n".join(lines)


LAB = Lab(
    id="gap",
    title="The gap over M",
    question="How much does batch normalization add to the loss of one unit, and is the two-term formula right about it?",
    parameters=(
        Choice("unit", "Unit", "linear", _UNITS, help="Activation, loss and teacher of theory sheet A.4."),
        Choice("distribution", "Pre-activation", "gaussian", _DISTRIBUTIONS, help=_TAILS),
        Real("gamma", "Scale", 0.7, 0.05, 5, 0.05, symbol="γ"),
        Real("beta", "Shift", 0.2, -3, 3, 0.05, symbol="β"),
        Whole("batch_size", "Statistics batch size", 32, 4, 1024, symbol="M", log=True, help=_SEEN),
        Choice("hessian", "Curvature", "exact", _HESSIANS, when={"unit": ("relu",)}, help=_KINKS),
        Choice("show", "Vertical axis", "coefficient", _AXES, help="M × gap tends to a constant."),
        *simulation(
            "Draw batches and measure; takes seconds.",
            sizes("samples", "Samples per point", 200_000, 50_000, 200_000, 1_000_000),
            group="Monte Carlo",
        ),
    ),
    compute=_compute,
    formulas=(
        Step(
            "The paper's two terms, one for the noise of the batch mean and one for that of its standard deviation.",
            r"Z = M \zeta \gamma^2 = \gamma^2 \left( \frac{K}{8} H_{\gamma\gamma} + \frac{1}{2} H_{\beta\beta} \right), "
            r"\quad K = \rho + 2",
        ),
        Step(
            "Own batch: each sample is one of the $M$ that normalise it. This is batch normalization.",
            r"M \, G_\text{own} = Z + \gamma^2 \frac{s}{2} H_{\gamma\beta} + \gamma \left( \frac{3K}{8} G_\gamma + "
            r"\frac{s}{2} G_\beta - \frac{1}{2} T_3 \right)",
        ),
        Step(
            "Fresh batch: statistics of $M$ other samples.",
            r"M \, G_\text{fresh} = Z + \gamma^2 \frac{s}{2} H_{\gamma\beta} + \gamma \left( \left( \frac{1}{2} + "
            r"\frac{3K}{8} \right) G_\gamma + \frac{s}{2} G_\beta \right)",
        ),
        Step(
            r"$G$ and $H$ are first and second derivatives of the mean loss in $\gamma$ and $\beta$, $T_3 = \mathbb{E}[l' "
            r"x^3]$, $s$ the skewness and $\rho$ the excess kurtosis of the pre-activation $x$."
        ),
    ),
    examples=(
        Example(
            "ReLU at its optimum's scale, simulated",
            {"unit": "relu", "beta": 0, "simulate": "yes"},
            "The own-batch law meets the simulated points; the two-term value is below them.",
        ),
        Example(
            "Heavy tails and skew",
            {"unit": "softplus_glm", "distribution": "exponential", "gamma": 1.2, "beta": 0.1},
            "The paper's own unit, away from its optimum: the two terms give 0.6 of the gap.",
        ),
        Example(
            "A linear unit at its optimum",
            {"gamma": 0.8, "beta": 0},
            "The two-term value and the law coincide, as they must at a well-specified optimum.",
        ),
    ),
    source="Theory sheet A.1 to A.4",
    grid=("unit", "distribution"),
)
