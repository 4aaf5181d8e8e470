"""``bnlens theory rates``: fixed points, maximum and effective learning rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlens.cli.theory import _output as output
from bnlens.cli.theory.dynamics import SystemName, build_system

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from bnlens.theory.dynamics import System

__all__ = ["rates_command"]

_START = 0.9  # overlap from which a simulation settles


def rates_command(
    unit: Annotated[output.UnitName, typer.Option(help="Activation of student and teacher.")] = output.UnitName.linear,
    batch_size: Annotated[int, typer.Option("--batch-size", "-M", min=4, metavar="M", help="Samples per step.")] = 8,
    learning_rate: Annotated[
        str, typer.Option(metavar="LIST", help="Learning rates, as 1,2,4 or START:STOP:STEP.")
    ] = "4:28:4",
    norm: Annotated[float, typer.Option(metavar="L", help="Norm of the weights, restored after each step.")] = 1.0,
    simulate: output.SimulateOption = False,
    size: Annotated[int, typer.Option(metavar="N", help="Weights of a simulated student.")] = 400,
    tau: Annotated[float, typer.Option(metavar="T", help="Time that a simulated student is given.")] = 20.0,
    runs: output.RunsOption = 8,
    seed: output.SeedOption = 0,
    form: output.FormatOption = output.OutputFormat.csv,
    plot: output.PlotOption = None,
) -> None:
    """Fixed points and learning rates of weight normalization, gamma decay (the paper's model of BN) and BN, at fixed norm.

    Where training ends (gamma and R) for each learning rate, beside the maximum learning rate, above which R leaves 1, and
    the effective one. JSON has what becomes of the paper's orderings beside the rows.
    """
    import pandas as pd

    from bnlens.theory.learning_rate import orderings

    output.check_plot(plot)
    rates = output.parse_numbers(learning_rate, "--learning-rate")
    names = (SystemName.weight_norm, SystemName.gamma_decay, SystemName.batch_norm)
    rows = []
    with output.progress_bar("simulating") as progress:
        for index, (name, rate) in enumerate((name, rate) for name in names for rate in rates):
            system = build_system(name, unit=unit, learning_rate=rate, batch_size=batch_size, label_noise=0.0)
            row = {"system": name.value, "learning_rate": rate, **_row(system, norm)}
            if simulate:
                row |= _simulated(system, norm, tau, size, runs, seed)
                progress(index + 1, len(names) * len(rates))
            rows.append(row)
    frame = pd.DataFrame(rows).set_index("system")
    claims = [{**_fields(found), "holds": bool(found.holds)} for found in orderings(unit.value, batch_size, norm=norm)]
    output.print_table(frame, form, unit=unit.value, batch_size=batch_size, norm=norm, orderings=claims)
    if plot is not None:
        words = f"Stationary overlap at norm {norm:g}, batches of {batch_size}, {unit.value} unit"
        output.write_plot(_figure(frame, simulate), plot, "Learning rates", words)


def _fields(found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("quantity", "model", "rate", "bound")}


def _row(system: System, norm: float) -> dict[str, float]:
    from bnlens.theory.learning_rate import effective_learning_rate, fixed_point, max_learning_rate, stationary_state

    state = stationary_state(system, norm=norm)
    return {
        "gamma0": fixed_point(system).gamma,
        "max_learning_rate": max_learning_rate(system, norm=norm),
        "effective_learning_rate": effective_learning_rate(system, norm=norm),
        "gamma": state.gamma,
        "R": state.R,
    }


def _simulated(system: System, norm: float, tau: float, size: int, runs: int, seed: int) -> dict[str, float]:
    from bnlens.simulate import simulate_dynamics

    found = simulate_dynamics(
        system, [tau], gamma=1.0, R=_START, L=norm, freeze_norm=True, size=size, runs=runs, seed=seed
    )
    names = ("gamma", "gamma_stderr", "R", "R_stderr")
    return {f"simulated_{name}": float(getattr(found, name)[-1]) for name in names}


def _figure(frame: pd.DataFrame, simulate: bool) -> Figure:
    from bnlens.render import PALETTE, new_figure

    figure = new_figure(x="learning rate", y="stationary overlap R")
    for (name, rows), color in zip(frame.groupby("system", sort=False), PALETTE, strict=False):
        figure.add_scatter(name=str(name), x=rows["learning_rate"], y=rows["R"], mode="lines", line={"color": color})
        largest = float(rows["max_learning_rate"].iloc[0])
        if math.isfinite(largest):
            figure.add_vline(x=largest, line={"color": color, "width": 1, "dash": "dot"})
        if simulate:
            figure.add_scatter(
                name=f"{name}, simulated",
                x=rows["learning_rate"],
                y=rows["simulated_R"],
                error_y={"array": rows["simulated_R_stderr"]},
                mode="markers",
                marker={"color": color},
            )
    return figure
