"""What the claims on one unit (D1 to D4) share: the cases, the simulated gap as a job, grades and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Scale, Verdict

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from bnlens.theory import GapLaw, Unit

BATCH_SIZE = 64
DISTRIBUTIONS = ("gaussian", "laplace", "exponential")
SAMPLES: Mapping[Scale, int] = {"quick": 1_000_000, "full": 16_000_000}
"""Pre-activations per simulated gap."""

SHORT_NAMES: Mapping[str, str] = {"gaussian": "Gauss", "laplace": "Laplace", "exponential": "exp."}
"""The distributions where space is short."""

UNIT_NAMES: Mapping[str, str] = {
    "linear": "linear",
    "logistic": "logistic",
    "relu": "ReLU",
    "softplus_glm": "softplus GLM",
    "poisson": "Poisson",
}

# The points of the tables of the theory sheet: A.4 away from the optimum with the default teachers, A.5 at a well-specified
# optimum (the linear unit has a noisy teacher, which does not matter for squared loss).
_AWAY = {
    "linear": (0.7, 0.2),
    "logistic": (1.5, 0.3),
    "relu": (0.7, 0.0),
    "softplus_glm": (1.2, 0.1),
    "poisson": (1.2, 0.5),
}
_OPTIMUM = {
    "linear": (0.8, 0.0),
    "logistic": (2.0, 0.0),
    "relu": (1.0, 0.0),
    "softplus_glm": (1.5, 0.0),
    "poisson": (1.5, 0.5),
}


@dataclass(frozen=True)
class Case:
    """A unit with its teacher, a distribution of pre-activations and a point (gamma, beta)."""

    unit: str
    distribution: str
    at_optimum: bool

    @property
    def key(self) -> str:
        """Name of the case inside job names."""
        return f"{self.unit}-{self.distribution}-{'optimum' if self.at_optimum else 'away'}"

    @property
    def point(self) -> tuple[float, float]:
        """(gamma, beta)."""
        return (_OPTIMUM if self.at_optimum else _AWAY)[self.unit]

    @property
    def columns(self) -> dict[str, str]:
        """The first columns of the row of this case in a table."""
        place = "optimum" if self.at_optimum else "away from it"
        return {"unit": UNIT_NAMES[self.unit], "pre-activations": self.distribution, "at": place}

    def law(self) -> GapLaw:
        """Return the expansion of the gap at the point."""
        from bnlens.theory import gap_law

        gamma, beta = self.point
        return gap_law(make_unit(self.unit, self.at_optimum), self.distribution, gamma=gamma, beta=beta)

    def config(self) -> dict[str, Any]:
        """Return the arguments that say the case to `simulate`."""
        gamma, beta = self.point
        arguments = {"unit": self.unit, "distribution": self.distribution, "at_optimum": self.at_optimum}
        return {**arguments, "gamma": gamma, "beta": beta}


def cases(*, at_optimum: bool, distributions: Sequence[str] = DISTRIBUTIONS) -> list[Case]:
    """Return the five units on the given distributions."""
    return [Case(unit, distribution, at_optimum) for unit in UNIT_NAMES for distribution in distributions]


PAPER_CASE = Case("softplus_glm", "gaussian", at_optimum=False)
"""The unit of the paper on Gaussian pre-activations, whose numbers are the headline."""


def make_unit(name: str, at_optimum: bool) -> Unit:
    """Return the unit with the teacher of the sheet; at the optimum the ReLU unit sees its own kind of target."""
    from bnlens.theory import get_unit, relu

    return relu(1.0) if name == "relu" and at_optimum else get_unit(name)


def simulate(
    *,
    unit: str,
    distribution: str,
    at_optimum: bool,
    gamma: float,
    beta: float,
    batch_sizes: Sequence[int],
    samples: int,
    seed: int,
    statistics: str = "own",
    noises: Sequence[str] = ("both",),
) -> dict[str, Any]:
    """Job: simulated gaps, keyed by noise and statistics batch size, each with gap and stderr in nats per sample."""
    from bnlens.simulate import simulate_gap

    results: dict[str, Any] = {}
    for offset, noise in enumerate(noises):
        for batch_size in batch_sizes:
            estimate = simulate_gap(
                make_unit(unit, at_optimum),
                distribution,
                gamma=gamma,
                beta=beta,
                batch_size=batch_size,
                statistics=statistics,  # type: ignore[arg-type]  # JSON has no literal types
                noise=noise,  # type: ignore[arg-type]
                samples=samples,
                seed=seed + 1000 * offset,
            )
            results[f"{noise}-M{batch_size}"] = {"gap": estimate.gap, "stderr": estimate.stderr}
    return results


def grade(deviations: Iterable[tuple[float, float]], *, close: float = 0.05, near: float = 0.15) -> Verdict:
    """Return the verdict on relative deviations, each given with its standard error, of which two are forgiven."""
    worst = max(abs(deviation) - 2 * stderr for deviation, stderr in deviations)
    if worst <= close:
        return "holds"
    return "holds approximately" if worst <= near else "does not hold here"


def span(values: Iterable[float], digits: int = 2) -> str:
    """Return "low to high" of some numbers."""
    numbers = sorted(values)
    return f"{numbers[0]:.{digits}f} to {numbers[-1]:.{digits}f}"


def ratios(what: str, measured: float, stderr: float, predictions: Mapping[str, float]) -> dict[str, float]:
    """Columns "X / what" with their standard errors: each prediction over the measured value, which alone has an error."""
    columns = {}
    for name, predicted in predictions.items():
        columns[f"{name} / {what}"] = predicted / measured
        columns[f"{name} / {what} stderr"] = abs(predicted / measured * stderr / measured)
    return columns


def comparison(
    rows: Sequence[Mapping[str, Any]], places: Sequence[Any], columns: Mapping[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """Series for `category_figure`: of each role (measured, predicted, paper) its name and its column of ``rows``.

    What is measured has error bars, what is predicted open markers.
    """
    series: list[dict[str, Any]] = []
    for role, (name, column) in columns.items():
        series.append({"name": name, "role": role, "x": places, "y": [row[column] for row in rows]})
        if role == "measured":
            series[-1]["stderr"] = [row[f"{column} stderr"] for row in rows]
        elif role == "predicted":
            series[-1]["open"] = True
    return series


def category_figure(y: str, series: Iterable[Mapping[str, Any]], *, one: bool = False) -> Figure:
    """Return a figure of points over two-level categories.

    Args:
        y: title of the vertical axis.
        series: each with "name", "role" ("measured", "predicted", "paper"), "x" (pairs of categories), "y", and
            optionally "stderr" and "open" for open symbols.
        one: whether to draw a line at one.
    """
    from bnlens.render import ROLES, new_figure

    figure = new_figure(x="", y=y, height=480, xaxis_tickangle=0)
    for entry in series:
        role = ROLES[entry["role"]]
        figure.add_scatter(
            name=entry["name"],
            mode="markers",
            x=[list(level) for level in zip(*entry["x"], strict=True)],
            y=list(entry["y"]),
            error_y={"array": list(entry["stderr"])} if "stderr" in entry else None,
            marker={
                "color": role["color"],
                "symbol": role["symbol"] + ("-open" if entry.get("open") else ""),
                "size": 11 if entry.get("open") else 8,  # so that what lies under it shows
            },
        )
    if one:
        line_at_one(figure)
    return figure


def line_at_one(figure: Figure) -> None:
    """Draw a quiet horizontal line at one, in a colour that shows on light and dark ground."""
    from bnlens.render import PALETTE

    figure.add_hline(y=1, line={"width": 1, "dash": "dot", "color": PALETTE[-1]})
