"""What the claims on generalization (G1 to G4) share: the estimators as JSON, simulated curves as jobs, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Scale

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

    from bnlens.theory.generalization import Estimator

LABEL_NOISE = 0.25
SCALES: Mapping[Scale, Mapping[str, int]] = {
    "quick": {"dimension": 200, "runs": 60},
    "full": {"dimension": 400, "runs": 200},
}
"""Inputs N and training sets per load."""


def make_estimator(kind: str, *, dimension: int | None = None, **parameters: Any) -> Estimator:
    """Return an estimator of the theory with the label noise of the claims; `dimension` where its law knows finite N."""
    from bnlens.theory import generalization as theory

    kinds = {
        "least squares": theory.LeastSquares,
        "ridge": theory.Ridge,
        "gamma decay": theory.WeightNormDecay,
        "batch norm": theory.BatchNorm,
        "relu": theory.ReluRidge,
    }
    if kind in ("least squares", "batch norm"):
        parameters["dimension"] = dimension
    estimator: Estimator = kinds[kind](label_noise=LABEL_NOISE, **parameters)
    return estimator


def simulate_curve(
    *, estimator: Mapping[str, Any], alpha: Sequence[float], dimension: int, runs: int, seed: int, start: str = "small"
) -> dict[str, Any]:
    """Job: mean errors and training objectives per sample over training sets, with standard errors, one per load."""
    from bnlens.simulate.generalization import simulate_learning_curve

    simulated = simulate_learning_curve(
        make_estimator(**estimator),
        alpha,
        dimension=dimension,
        runs=runs,
        seed=seed,
        start=start,  # type: ignore[arg-type]  # JSON has no literal types
    )
    return {
        "error": simulated.error.tolist(),
        "stderr": simulated.error_stderr.tolist(),
        "norm": simulated.norm.tolist(),
        "training_error": simulated.training_error.tolist(),
    }


def theory_curve(estimator: Mapping[str, Any], alpha: Iterable[float], dimension: int | None = None) -> list[float]:
    """Return the theory's generalization error at loads alpha."""
    from bnlens.theory.generalization import learning_curve

    errors: list[float] = learning_curve(make_estimator(**estimator, dimension=dimension), list(alpha)).error.tolist()
    return errors


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the cosine of two vectors."""
    return float(a @ b / ((a @ a) * (b @ b)) ** 0.5)


def curve_figure(lines: Iterable[Mapping[str, Any]], points: Iterable[Mapping[str, Any]], **layout: Any) -> Figure:
    """Return a figure of theory lines and simulated points over the load.

    Args:
        lines: each with "name", "x", "y", "color" and optionally "dash".
        points: each with "name", "x", "y", "color" and optionally "stderr" and "symbol".
        **layout: further Plotly layout.
    """
    from bnlens.render import new_figure

    figure = new_figure(x="load α = P/N", y="generalization error", height=480, **layout)
    for line in lines:
        figure.add_scatter(
            name=line["name"],
            mode="lines",
            x=list(line["x"]),
            y=list(line["y"]),
            line={"color": line["color"], "dash": line.get("dash", "solid")},
        )
    for point in points:
        figure.add_scatter(
            name=point["name"],
            mode="markers",
            x=list(point["x"]),
            y=list(point["y"]),
            error_y={"array": list(point["stderr"])} if "stderr" in point else None,
            marker={"color": point["color"], "symbol": point.get("symbol", "circle")},
        )
    return figure
