"""Lab: the gap of one unit over the statistics batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bnlens.render import PALETTE, ROLES, new_figure, number
from bnlens.theory import GapLaw, gap_law, linear_gap, mean_std
from bnlens.web.labs._lab import Cost, Example, Lab, State, Step
from bnlens.web.labs._parameters import Choice, Real, Whole, switch
from bnlens.web.labs._result import Headline, Result

__all__ = ["LAB"]

_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SIMULATED = (8, 16, 32, 64, 128, 256)
_TEACHER = 0.8  # R of the linear unit's default teacher, sheet A.4
_LOOKS: Mapping[str, Mapping[str, str]] = {
    "own": {"name": "own batch, law", "color": PALETTE[0], "dash": "solid", "symbol": "circle"},
    "fresh": {"name": "fresh batch, law", "color": PALETTE[2], "dash": "dot", "symbol": "diamond"},
    "two_term": {"name": "two-term (paper)", "color": ROLES["paper"]["color"], "dash": "dash"},
    "exact": {"name": "own batch, exact", "color": PALETTE[1], "dash": "longdash"},
}
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
    law = gap_law(
        state["unit"], state["distribution"], gamma=state["gamma"], beta=state["beta"], hessian=state["hessian"]
    )
    chosen = state["batch_size"]
    rows = [_row(law, state, size) for size in sorted({*_SIZES, chosen})]
    if state["simulate"] == "yes":
        for row in rows:
            if row["M"] in (*_SIMULATED, chosen):
                row.update(_simulated(state, row["M"]))
    at = next(row for row in rows if row["M"] == chosen)
    ratio = at["two_term"] / at["own"] if at["own"] else None
    return Result(
        figure=_figure(rows, state),
        caption=(
            f"Gap over the statistics batch size: {_label('unit', state)}, {_label('distribution', state)} pre-activation, "
            f"γ = {number(state['gamma'])}, β = {number(state['beta'])}."
        ),
        description=_description(rows, at, ratio),
        headlines=_headlines(at, ratio),
        rows=rows,
        columns={name: heading for name, heading in _HEADINGS.items() if any(name in row for row in rows)},
        table="Gap by batch size, nats per sample",
        code=_code(state),
        notes=_notes(state, law),
    )


def _row(law: GapLaw, state: State, size: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "M": size,
        "own": float(law.gap(size, "own")),
        "fresh": float(law.gap(size, "fresh")),
        "two_term": law.two_term / size,
    }
    if _has_exact(state):
        row["exact"] = float(linear_gap(state["gamma"], _TEACHER, mean_std(size)))
    return row


def _has_exact(state: State) -> bool:
    return bool(state["unit"] == "linear") and bool(state["distribution"] == "gaussian")


def _simulated(state: State, size: int) -> dict[str, float]:
    from bnlens.simulate import simulate_gap

    found: dict[str, float] = {}
    for statistics in ("own", "fresh"):
        estimate = simulate_gap(
            state["unit"],
            state["distribution"],
            gamma=state["gamma"],
            beta=state["beta"],
            batch_size=size,
            statistics=statistics,
            samples=max(int(state["samples"]), 50 * size),
            seed=state["seed"],
        )
        found |= {f"simulated {statistics}": estimate.gap, f"simulated {statistics} stderr": estimate.stderr}
    return found


def _figure(rows: Sequence[Mapping[str, Any]], state: State) -> Any:
    times = state["show"] == "coefficient"
    figure = new_figure(x="statistics batch size M", y="M × gap (nats)" if times else "gap (nats per sample)")
    shown: list[float] = []
    for kind, look in _LOOKS.items():
        values = [row[kind] * (row["M"] if times else 1) for row in rows if kind in row]
        if not values:
            continue
        shown += values
        figure.add_scatter(
            x=[row["M"] for row in rows],
            y=values,
            mode="lines",
            name=look["name"],
            line={"color": look["color"], "dash": look["dash"]},
        )
    for kind in ("own", "fresh"):
        points = [row for row in rows if f"simulated {kind}" in row]
        if not points:
            continue
        scale = [row["M"] if times else 1 for row in points]
        values = [row[f"simulated {kind}"] * factor for row, factor in zip(points, scale, strict=True)]
        shown += values
        figure.add_scatter(
            x=[row["M"] for row in points],
            y=values,
            error_y={"array": [row[f"simulated {kind} stderr"] * f for row, f in zip(points, scale, strict=True)]},
            mode="markers",
            name=f"{kind} batch, simulated",
            marker={"color": _LOOKS[kind]["color"], "symbol": _LOOKS[kind]["symbol"]},
        )
    sizes = [row["M"] for row in rows]
    edges = [math.log10(sizes[0] / 1.1), math.log10(sizes[-1] * 1.1)]
    figure.update_xaxes(type="log", range=edges, tickvals=sizes, ticktext=[str(size) for size in sizes])
    figure.add_vline(x=state["batch_size"], line={"color": ROLES["paper"]["color"], "width": 1, "dash": "dot"})
    if not times and min(shown) > 0:
        figure.update_yaxes(type="log")
    elif times and min(shown) > 0:
        figure.update_yaxes(rangemode="tozero")
    return figure


def _headlines(at: Mapping[str, Any], ratio: float | None) -> list[Headline]:
    size = at["M"]
    headlines = [Headline("own", f"Gap at M = {size}, own-batch law", at["own"], note="nats per sample")]
    if "simulated own" in at:
        simulated = Headline("simulated-own", "Simulated", at["simulated own"], at["simulated own stderr"])
        headlines.append(simulated)
    elif "exact" in at:
        headlines.append(Headline("exact", "Exact (linear unit, Gaussian)", at["exact"], note="nats per sample"))
    headlines += [
        Headline("two-term", "Two-term value (paper)", at["two_term"], note="nats per sample"),
        Headline("ratio", "Two-term over own-batch law", ratio),
        Headline("fresh", "Fresh-batch law", at["fresh"], note="nats per sample"),
    ]
    return headlines


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


def _code(state: State) -> str:
    hessian = ', hessian="gauss-newton"' if state["hessian"] == "gauss-newton" else ""
    point = f"gamma={state['gamma']:g}, beta={state['beta']:g}"
    unit, size = f'"{state["unit"]}", "{state["distribution"]}"', state["batch_size"]
    lines = [
        "from bnlens.theory import gap_law",
        "",
        f"law = gap_law({unit}, {point}{hessian})",
        f'law.gap({size}, "own"), law.gap({size}, "fresh"), law.two_term / {size}',
    ]
    if state["simulate"] == "yes":
        samples = max(int(state["samples"]), 50 * size)
        lines.insert(0, "from bnlens.simulate import simulate_gap")
        lines.append(
            f'simulate_gap({unit}, {point}, batch_size={size}, statistics="own", samples={samples}, seed={state["seed"]})'
        )
    return "\n".join(lines)


def _label(name: str, state: State) -> str:
    parameter = LAB.parameter(name)
    assert isinstance(parameter, Choice)  # noqa: S101 - for the type checker
    label = parameter.options[state[name]]
    return label if name == "distribution" or label.startswith("ReLU") else label[0].lower() + label[1:]


def _cost(state: State) -> Cost:
    return "instant" if state["simulate"] == "no" else "long"


LAB = Lab(
    id="gap",
    title="The gap over M",
    question="How much does batch normalization add to the loss of one unit, and is the two-term formula right about it?",
    parameters=(
        Choice(
            name="unit",
            label="Unit",
            default="linear",
            options={
                "linear": "Linear, squared loss",
                "relu": "ReLU, squared loss",
                "logistic": "Logistic, cross-entropy",
                "softplus_glm": "Softplus GLM (the paper's)",
                "poisson": "Poisson, softplus rate",
            },
            help="Activation, loss and teacher of theory sheet A.4.",
        ),
        Choice(
            name="distribution",
            label="Pre-activation",
            default="gaussian",
            options={"gaussian": "Gaussian", "laplace": "Laplace", "exponential": "Exponential"},
            help="Laplace has heavy tails, exponential has skew as well.",
        ),
        Real(name="gamma", label="Scale", symbol="γ", default=0.7, minimum=0.05, maximum=5, step=0.05),
        Real(name="beta", label="Shift", symbol="β", default=0.2, minimum=-3, maximum=3, step=0.05),
        Whole(
            name="batch_size",
            label="Statistics batch size",
            symbol="M",
            default=32,
            minimum=4,
            maximum=1024,
            log=True,
            help="Samples that the layer sees at once.",
        ),
        Choice(
            name="hessian",
            label="Curvature",
            default="exact",
            options={"exact": "Exact, with kinks", "gauss-newton": "Gauss–Newton"},
            when={"unit": ("relu",)},
            help="Whether the kink of the loss counts.",
        ),
        Choice(
            name="show",
            label="Vertical axis",
            default="coefficient",
            options={"coefficient": "M × gap", "gap": "gap"},
            help="M × gap tends to a constant.",
        ),
        switch(name="simulate", label="Simulate", help="Draw batches and measure; takes seconds.", group="Monte Carlo"),
        Choice(
            name="samples",
            label="Samples per point",
            default="200000",
            options={"50000": "50,000", "200000": "200,000", "1000000": "1,000,000"},
            when={"simulate": ("yes",)},
            group="Monte Carlo",
        ),
        Whole(
            name="seed",
            label="Seed",
            default=0,
            minimum=0,
            maximum=999_999,
            when={"simulate": ("yes",)},
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
            "Own batch: each sample is one of the M that normalise it. This is batch normalization.",
            r"M \, G_{own} = Z + \gamma^2 \frac{s}{2} H_{\gamma\beta} + \gamma \left( \frac{3K}{8} G_\gamma + "
            r"\frac{s}{2} G_\beta - \frac{1}{2} T_3 \right)",
        ),
        Step(
            "Fresh batch: statistics of M other samples.",
            r"M \, G_{fresh} = Z + \gamma^2 \frac{s}{2} H_{\gamma\beta} + \gamma \left( \left( \frac{1}{2} + "
            r"\frac{3K}{8} \right) G_\gamma + \frac{s}{2} G_\beta \right)",
        ),
        Step(
            "G and H are first and second derivatives of the mean loss in γ and β, T₃ = E[l′x³], s the skewness and ρ the "
            "excess kurtosis of the pre-activation x."
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
    cost=_cost,
    grid=("unit", "distribution"),
)
