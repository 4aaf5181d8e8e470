"""What the claims on generalization (G1 to G4) share: scales, the theory's curves, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Scale
from bnlens.experiments.generalization import make_estimator

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SCALES: Mapping[Scale, Mapping[str, int]] = {
    "quick": {"dimension": 200, "runs": 60},
    "full": {"dimension": 400, "runs": 200},
}
"""Inputs N and training sets per load."""


def theory_curve(estimator: Mapping[str, Any], alpha: Iterable[float], dimension: int | None = None) -> list[float]:
    """Return the theory's generalization error at loads alpha."""
    from bnlens.theory.generalization import learning_curve

    errors: list[float] = learning_curve(make_estimator(**estimator, dimension=dimension), list(alpha)).error.tolist()
    return errors


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
