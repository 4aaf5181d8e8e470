"""``bnlens theory dynamics``: order parameters along training."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlens.cli.theory import _output as output
from bnlens.errors import UsageError

if TYPE_CHECKING:
    from bnlens.theory.dynamics import System

__all__ = ["SystemName", "build_system", "dynamics_command"]


class SystemName(str, Enum):
    """How a unit is trained."""

    sgd = "sgd"
    weight_norm = "weight-norm"
    gamma_decay = "gamma-decay"
    batch_norm = "batch-norm"


def build_system(
    name: SystemName,
    *,
    unit: output.UnitName,
    learning_rate: float,
    batch_size: int,
    label_noise: float,
    zeta: float | None = None,
) -> System:
    """Return the system of `bnlens.theory.dynamics`; without a zeta gamma decay has the paper's for the batch size.

    Raises:
        UsageError: a number cannot be used, or there is a zeta and no gamma decay.
    """
    from bnlens.theory import dynamics

    common: dict[str, Any] = {
        "unit": unit.value,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "label_noise": label_noise,
    }
    if name is SystemName.gamma_decay:
        return dynamics.GammaDecay(**common, zeta=dynamics.paper_zeta(unit.value, batch_size) if zeta is None else zeta)
    if zeta is not None:
        raise UsageError(f"--zeta is the coefficient of gamma-decay; leave it out for {name.value}")
    if name is SystemName.sgd:
        return dynamics.SGD(**common)
    return dynamics.WeightNorm(**common) if name is SystemName.weight_norm else dynamics.BatchNorm(**common)


def dynamics_command(
    system: Annotated[SystemName, typer.Argument(help="What is trained.")] = SystemName.batch_norm,
    unit: Annotated[output.UnitName, typer.Option(help="Activation of student and teacher.")] = output.UnitName.linear,
    learning_rate: Annotated[float, typer.Option(metavar="ETA", help="Learning rate.")] = 1.0,
    batch_size: Annotated[int, typer.Option("--batch-size", "-M", metavar="M", help="Samples per step.")] = 8,
    label_noise: Annotated[float, typer.Option(metavar="S", help="Variance of the noise on the labels.")] = 0.0,
    zeta: Annotated[
        float | None,
        typer.Option(metavar="ZETA", help="Coefficient of gamma-decay.", show_default="the paper's for M"),
    ] = None,
    tau: Annotated[
        str, typer.Option(metavar="LIST", help="Times in steps per weight, as 0,1,10 or START:STOP:STEP.")
    ] = "0:10:0.5",
    gamma: Annotated[
        float | None, typer.Option(metavar="G", help="Gamma at the start.", show_default="1, or the norm for sgd")
    ] = None,
    overlap: Annotated[float, typer.Option(metavar="R", help="Overlap with the teacher at the start.")] = 0.0,
    norm: Annotated[float, typer.Option(metavar="L", help="Norm of the weights at the start.")] = 1.0,
    simulate: output.SimulateOption = False,
    size: Annotated[int, typer.Option(metavar="N", help="Weights of a simulated student.")] = 1000,
    runs: output.RunsOption = 16,
    seed: output.SeedOption = 0,
    form: output.FormatOption = output.OutputFormat.csv,
    plot: output.PlotOption = None,
) -> None:
    """Order parameters along training: gamma, overlap R, norm L and generalization error over tau = steps / N."""
    output.check_plot(plot)
    trained = build_system(
        system, unit=unit, learning_rate=learning_rate, batch_size=batch_size, label_noise=label_noise, zeta=zeta
    )
    times = output.parse_numbers(tau, "--tau")
    trajectory = trained.solve(times, gamma=gamma, R=overlap, L=norm)
    frame = trajectory.to_frame()
    figure = trajectory.plot() if plot is not None else None
    if simulate:
        from bnlens.simulate import simulate_dynamics

        with output.progress_bar("simulating") as progress:
            simulated = simulate_dynamics(
                trained,
                times,
                gamma=gamma,
                R=overlap,
                L=norm,
                size=size,
                runs=runs,
                seed=seed,
                progress=progress,
            )
        found = simulated.to_frame().add_prefix("simulated_").set_index(frame.index)
        frame = frame.join(found)
        figure = None if figure is None else simulated.plot(figure)
    facts: dict[str, Any] = {"system": system.value, "unit": unit.value}
    facts |= {"learning_rate": learning_rate, "batch_size": batch_size}
    facts |= {"label_noise": label_noise, "zeta": getattr(trained, "zeta", None)}
    facts |= {"size": size, "runs": runs, "seed": seed} if simulate else {}
    output.print_table(frame, form, **facts)
    if plot is not None and figure is not None:
        title = f"Learning dynamics: {system.value}, {unit.value} unit"
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)
        output.write_plot(figure, plot, title, words)
