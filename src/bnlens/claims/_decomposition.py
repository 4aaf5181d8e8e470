"""Cases, points and figures that the claims on one unit (D1 to D4) share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bnlens.claims._claim import Figure, Job, Scale
from bnlens.claims._estimate import Estimate
from bnlens.claims._figures import add_estimates
from bnlens.claims._results import Results
from bnlens.experiments.unit import make_unit, simulate_gaps

if TYPE_CHECKING:
    from bnlens.theory import GapLaw

BATCH_SIZE, LARGE = 64, 256
DISTRIBUTIONS = ("gaussian", "laplace", "exponential")
SAMPLES: Mapping[Scale, int] = {"quick": 1_000_000, "full": 16_000_000}
"""Pre-activations per simulated gap."""

SHORT_NAMES: Mapping[str, str] = {"gaussian": "Gauss", "laplace": "Laplace", "exponential": "exp."}
"""The distributions where space is short."""

# Names, and the points (gamma, beta) of the tables of the theory sheet: A.4 away from the optimum with the default teachers,
# A.5 at a well-specified optimum (the linear unit has a noisy teacher, which does not matter for squared loss).
_UNITS = {
    "linear": ("linear", (0.7, 0.2), (0.8, 0.0)),
    "logistic": ("logistic", (1.5, 0.3), (2.0, 0.0)),
    "relu": ("ReLU", (0.7, 0.0), (1.0, 0.0)),
    "softplus_glm": ("softplus GLM", (1.2, 0.1), (1.5, 0.0)),
    "poisson": ("Poisson", (1.2, 0.5), (1.5, 0.5)),
}
UNIT_NAMES: Mapping[str, str] = {unit: name for unit, (name, *_) in _UNITS.items()}


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
        _, away, optimum = _UNITS[self.unit]
        return optimum if self.at_optimum else away

    @property
    def columns(self) -> dict[str, str]:
        """The first columns of the row of this case in a table."""
        place = "optimum" if self.at_optimum else "away from it"
        return {"unit": UNIT_NAMES[self.unit], "pre-activations": self.distribution, "at": place}

    @property
    def place(self) -> tuple[str, str]:
        """The unit and the distribution, the two levels of a figure's categories."""
        return UNIT_NAMES[self.unit], SHORT_NAMES[self.distribution]

    def law(self) -> GapLaw:
        """Return the expansion of the gap at the point."""
        from bnlens.theory import gap_law

        gamma, beta = self.point
        return gap_law(make_unit(self.unit, self.at_optimum), self.distribution, gamma=gamma, beta=beta)

    def config(self) -> dict[str, Any]:
        """Return the arguments that say the case to `bnlens.experiments.unit.simulate_gaps`."""
        gamma, beta = self.point
        arguments = {"unit": self.unit, "distribution": self.distribution, "at_optimum": self.at_optimum}
        return {**arguments, "gamma": gamma, "beta": beta}


def cases(*, at_optimum: bool, distributions: Sequence[str] = DISTRIBUTIONS) -> list[Case]:
    """Return the five units on the given distributions."""
    return [Case(unit, distribution, at_optimum) for unit in UNIT_NAMES for distribution in distributions]


PAPER_CASE = Case("softplus_glm", "gaussian", at_optimum=False)
"""The unit of the paper on Gaussian pre-activations, whose numbers are the headline."""


def gap_jobs(cases: Iterable[Case], scale: Scale, first_seed: int, sizes: Sequence[int] = (BATCH_SIZE,)) -> list[Job]:
    """Return a job for each case that simulates its gap at these statistics batch sizes."""
    config = {"batch_sizes": list(sizes), "samples": SAMPLES[scale]}
    cost = SAMPLES[scale] / 2e6 * len(sizes)
    return [
        Job(case.key, simulate_gaps, {**case.config(), **config, "seed": seed}, cost)
        for seed, case in enumerate(cases, start=first_seed)
    ]


NOISE_DISTRIBUTIONS = DISTRIBUTIONS[:2]
"""The distributions on which the paper's noise, a Gaussian sigma_B, is simulated: the wide noise of a third nears zero."""


def noise_cases() -> list[Case]:
    """Return the cases whose gap is simulated under the paper's noise too, away from the optimum and at it."""
    return [case for place in (False, True) for case in cases(at_optimum=place, distributions=NOISE_DISTRIBUTIONS)]


def noise_jobs(scale: Scale) -> list[Job]:
    """Return the jobs that simulate gaps under the paper's noise; claims that ask for them share the results."""
    jobs = gap_jobs(noise_cases(), scale, 180, (BATCH_SIZE, LARGE))
    return [replace(job, name=f"{job.name}-noise", config={**job.config, "statistics": "paper"}) for job in jobs]


def gap_of(case: Case, results: Results, statistics: str | None = None, M: int = BATCH_SIZE) -> Estimate:
    """Return M times the simulated gap of a case, with the batch's own statistics unless others are named."""
    return simulated(results.one(**case.config(), statistics=statistics or ...), M)  # ...: the entry is not there


class Point(NamedTuple):
    """A simulated number of a case, by the own-batch law, and by the paper."""

    simulated: Estimate
    law: float
    paper: float

    def columns(self, measured: str, paper: str, short: str) -> dict[str, float]:
        """Return the columns of a table; ``short`` stands for the paper's prediction in the heading of its ratio."""
        columns = {**self.simulated.columns(f"M × {measured}"), "own-batch law": self.law, paper: self.paper}
        ratios = self.law_ratio.columns(f"law / {measured}"), self.paper_ratio.columns(f"{short} / {measured}")
        return columns | ratios[0] | ratios[1]

    @property
    def law_ratio(self) -> Estimate:
        """The law over the simulated number."""
        return self.simulated.under(self.law)

    @property
    def paper_ratio(self) -> Estimate:
        """The paper over the simulated number."""
        return self.simulated.under(self.paper)


def simulated(result: Mapping[str, Any], M: int = BATCH_SIZE, noise: str = "both") -> Estimate:
    """Return M times the gap, from a result of `bnlens.experiments.unit.simulate_gaps`."""
    found = result[f"{noise}-M{M}"]
    return Estimate(M * found["gap"], M * found["stderr"])


def comparison_figure(y: str, places: Iterable[tuple[str, str]], points: Iterable[Point], paper: str) -> Figure:
    """Return a figure of simulated numbers with the law, as open symbols, and the paper, under its name."""
    simulated, law, of_paper = zip(*points, strict=True)
    series: list[Mapping[str, Any]] = [
        {"name": "simulated", "role": "measured", "y": simulated},
        {"name": "own-batch law", "role": "predicted", "y": law, "open": True},
        {"name": paper, "role": "paper", "y": of_paper},
    ]
    return category_figure(y, places, series)


def category_figure(y: str, places: Iterable[tuple[str, str]], series: Iterable[Mapping[str, Any]]) -> Figure:
    """Return a figure of points over two-level categories.

    Args:
        y: title of the vertical axis.
        places: pairs of categories.
        series: each with "name", "role" ("measured", "predicted", "paper"), "y", numbers or estimates, one per place, and
            optionally "open" for open symbols.
    """
    from bnlens.render import ROLES, new_figure

    figure = new_figure(x="", y=y, height=480, xaxis_tickangle=0)
    units, second = zip(*places, strict=True)
    for entry in series:
        role = ROLES[entry["role"]]
        suffix, size = ("-open", 11) if entry.get("open") else ("", 8)  # so that what lies under it shows
        marker = {"color": role["color"], "symbol": role["symbol"] + suffix, "size": size}
        add_estimates(figure, entry["name"], [list(units), list(second)], entry["y"], marker=marker)
    return figure


def line_at_one(figure: Figure) -> None:
    """Draw a quiet horizontal line at one, in a colour that shows on light and dark ground."""
    from bnlens.render import PALETTE

    figure.add_hline(y=1, line={"width": 1, "dash": "dot", "color": PALETTE[-1]})
