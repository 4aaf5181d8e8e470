"""Scales, points and figures that the claims on generalization (G1 to G4) share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bnlens.claims._claim import Figure, Scale
from bnlens.claims._estimate import Estimate
from bnlens.claims._figures import add_estimates
from bnlens.experiments.generalization import make_estimator

SCALES: Mapping[Scale, Mapping[str, int]] = {
    "quick": {"dimension": 200, "runs": 60},
    "full": {"dimension": 400, "runs": 200},
}
"""Inputs N and training sets per load."""


class Point(NamedTuple):
    """The generalization error at a load, simulated and by the theory."""

    load: float
    error: Estimate
    theory: float

    @property
    def ratio(self) -> Estimate:
        """The theory over the simulated error."""
        return self.error.under(self.theory)


def simulated(result: Mapping[str, Any]) -> list[Estimate]:
    """Return the generalization errors of a job's result, one per load."""
    return list(map(Estimate, result["error"], result["stderr"]))


def points(result: Mapping[str, Any], estimator: Mapping[str, Any], loads: Sequence[float]) -> list[Point]:
    """Return the errors of a job's result beside the theory's."""
    return [Point(*each) for each in zip(loads, simulated(result), theory_curve(estimator, loads), strict=True)]


def theory_curve(estimator: Mapping[str, Any], loads: Iterable[float]) -> list[float]:
    """Return the theory's generalization error at these loads."""
    from bnlens.theory.generalization import learning_curve

    errors: list[float] = learning_curve(make_estimator(**estimator), list(loads)).error.tolist()
    return errors


def curve_figure(lines: Iterable[Mapping[str, Any]], points: Iterable[Mapping[str, Any]], **layout: Any) -> Figure:
    """Return a figure of theory lines and simulated points over the load.

    Args:
        lines: each with "name", "x", "y", "color" and optionally "dash".
        points: each with "name", "x", "y" (estimates) and "color".
        **layout: further Plotly layout.
    """
    from bnlens.render import new_figure

    figure = new_figure(x="load α = P/N", y="generalization error", height=480, **layout)
    for line in lines:
        look = {"color": line["color"], "dash": line.get("dash", "solid")}
        figure.add_scatter(name=line["name"], mode="lines", x=list(line["x"]), y=list(line["y"]), line=look)
    for point in points:
        marker = {"color": point["color"], "symbol": "circle"}
        add_estimates(figure, point["name"], point["x"], point["y"], marker=marker)
    return figure
