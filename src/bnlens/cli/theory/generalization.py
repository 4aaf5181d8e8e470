"""``bnlens theory generalization``: learning curves over the load."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlens.cli.theory import _output as output
from bnlens.errors import UsageError

if TYPE_CHECKING:
    from bnlens.theory.generalization import Estimator

__all__ = ["generalization_command"]


class EstimatorName(str, Enum):
    """How a student is fitted to its training set."""

    least_squares = "least-squares"
    ridge = "ridge"
    gamma_decay = "gamma-decay"
    batch_norm = "batch-norm"
    relu = "relu"


_NEEDS = {"ridge": "decay", "relu": "decay", "gamma-decay": "zeta", "batch-norm": "batch-size", "least-squares": None}


def generalization_command(
    estimator: Annotated[EstimatorName, typer.Argument(help="How a student is fitted.")] = EstimatorName.batch_norm,
    alpha: Annotated[
        str, typer.Option(metavar="LIST", help="Loads P/N, as 0.5,1,2 or START:STOP:STEP.")
    ] = "0.25:4:0.25",
    label_noise: Annotated[float, typer.Option(metavar="S", help="Variance of the noise on the labels.")] = 0.25,
    decay: Annotated[
        float | None,
        typer.Option(metavar="LAMBDA", show_default=False, help="Decay of ridge and relu, of summed losses."),
    ] = None,
    zeta: Annotated[
        float | None,
        typer.Option(metavar="ZETA", show_default=False, help="Coefficient of gamma-decay, of the mean loss."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", "-M", metavar="M", show_default=False, help="Statistics batch size of batch-norm."
        ),
    ] = None,
    teacher: Annotated[
        output.UnitName | None, typer.Option(show_default="relu", help="Activation of the teacher of relu.")
    ] = None,
    simulate: output.SimulateOption = False,
    dimension: Annotated[int, typer.Option(min=1, metavar="N", help="Inputs of a simulated student.")] = 100,
    runs: output.RunsOption = 20,
    seed: output.SeedOption = 0,
    form: output.FormatOption = output.OutputFormat.csv,
    plot: output.PlotOption = None,
) -> None:
    """Generalization error over the load alpha = P/N; the table says whether it is exact, asymptotic or approximate."""
    from bnlens.theory.generalization import learning_curve

    output.check_plot(plot)
    given = {"decay": decay, "zeta": zeta, "batch-size": batch_size}
    _check_options(estimator.value, given, teacher)
    fitted = _build(estimator.value, label_noise, decay, zeta, batch_size, teacher)
    loads = output.parse_numbers(alpha, "--alpha")
    curve = learning_curve(fitted, loads)
    frame = curve.to_frame()
    frame["status"] = curve.status
    figure = curve.plot() if plot is not None else None
    if simulate:
        from bnlens.simulate.generalization import simulate_learning_curve

        with output.progress_bar("simulating") as progress:
            simulated = simulate_learning_curve(
                fitted, loads, dimension=dimension, runs=runs, seed=seed, progress=progress
            )
        frame = frame.join(simulated.to_frame().add_prefix("simulated_").set_index(frame.index))
        figure = None if figure is None else simulated.plot(figure)
    facts: dict[str, Any] = {"estimator": estimator.value, "label_noise": label_noise}
    facts |= {name.replace("-", "_"): value for name, value in given.items() if value is not None}
    facts |= {"dimension": dimension, "runs": runs, "seed": seed} if simulate else {}
    output.print_table(frame, form, **facts, status=curve.status, basis=curve.basis)
    if plot is not None and figure is not None:
        figure.update_yaxes(type="log")
        output.write_plot(figure, plot, f"Generalization: {fitted.title}", curve.basis)


def _check_options(name: str, given: dict[str, float | int | None], teacher: output.UnitName | None) -> None:
    needed = _NEEDS[name]
    if needed is not None and given[needed] is None:
        raise UsageError(f"{name} needs --{needed}")
    extra = next((option for option, value in given.items() if value is not None and option != needed), None)
    if extra is not None:
        raise UsageError(f"--{extra} has no meaning for {name}; leave it out")
    if teacher is not None and name != "relu":
        raise UsageError(f"--teacher has no meaning for {name}; leave it out")


def _build(
    name: str,
    label_noise: float,
    decay: float | None,
    zeta: float | None,
    batch_size: int | None,
    teacher: output.UnitName | None,
) -> Estimator:
    from bnlens.theory import generalization

    if name == "least-squares":
        return generalization.LeastSquares(label_noise=label_noise)
    if decay is not None and name == "ridge":
        return generalization.Ridge(decay=decay, label_noise=label_noise)
    if decay is not None:
        return generalization.ReluRidge(
            decay=decay, label_noise=label_noise, teacher="relu" if teacher is None else teacher.value
        )
    if zeta is not None:
        return generalization.WeightNormDecay(zeta=zeta, label_noise=label_noise)
    assert batch_size is not None  # noqa: S101 - _check_options has seen to it
    return generalization.BatchNorm(batch_size=batch_size, label_noise=label_noise)
