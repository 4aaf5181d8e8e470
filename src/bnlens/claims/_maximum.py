"""Maximum learning rates at frozen norm, as simulated and by the equations, for the claims L3a and L3b."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from bnlens.claims import _learning as common
from bnlens.claims._claim import Figure, Finding, Job, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, worst
from bnlens.claims._results import Results

__all__ = ["SIZES", "Maximum", "agreement_of", "cases_of", "figure_of", "finding_of", "jobs_of", "maxima_of"]

SIZES = (8, 32, 128)
"""M; students are simulated at the smallest, beyond which their number of weights would have to grow."""

_KINDS = ("WeightNorm", "BatchNorm", "GammaDecay")
_RATES = (20.0, 28.0)
_TIMES = tuple(range(4, 11))


def cases_of(kind: str, unit: str) -> list[common.Case]:
    """Return the simulated cases of one way to train, at learning rates above the maximum of WN."""
    return [
        common.Case(kind, unit, rate, SIZES[0], gamma=0.8, R=0.9, freeze_norm=True, times=_TIMES) for rate in _RATES
    ]


def jobs_of(kinds: Sequence[str], setup: Setup) -> list[Job]:
    """Return the jobs that simulate these ways to train; claims that ask for the same share it."""
    seeds = itertools.count(800)
    jobs = {
        kind: [case.job(setup.scale, next(seeds)) for unit in common.UNITS for case in cases_of(kind, unit)]
        for kind in _KINDS
    }
    return [job for kind in kinds for job in jobs[kind]]


class Maximum(NamedTuple):
    """The maximum learning rate of a system beside that of weight normalization, for a unit and an M.

    Attributes:
        unit: ``"linear"`` or ``"relu"``.
        M: batch size.
        rate: of the system, from simulated students if there are any, else by the equations.
        plain: the same of weight normalization.
        zeta: the paper's.
        by_equations: of the system.
    """

    unit: str
    M: int
    rate: Estimate
    plain: Estimate
    zeta: float
    by_equations: float

    @property
    def bound(self) -> float:
        """The paper's: that of weight normalization and 2 zeta."""
        return self.plain.value + 2 * self.zeta

    @property
    def verdict(self) -> Verdict:
        """Whether the rate reaches the bound, or at least that of weight normalization, two standard errors forgiven."""
        return common.reaches(self.rate, self.plain, 2 * self.zeta)

    @property
    def name(self) -> str:
        """The unit and M in words."""
        return f"{common.UNITS[self.unit]} unit, M = {self.M}"

    @property
    def row(self) -> dict[str, Any]:
        """The row of a table."""
        row = {"unit": common.UNITS[self.unit], "M": self.M, "from": "students" if self.M in SIZES[:1] else "equations"}
        row |= {**self.rate.columns("η_max"), **self.plain.columns("η_max of WN"), "claimed at least": self.bound}
        return {**row, "η_max, equations": self.by_equations, "verdict": self.verdict}


def maxima_of(kind: str, results: Results) -> list[Maximum]:
    """Return the maximum learning rates of a way to train, both units at every M."""
    found = []
    for unit in common.UNITS:
        for M in SIZES:
            by_equations, plain, zeta = (_exact(one, unit, M) for one in (kind, "WeightNorm", "zeta"))
            rates = Estimate(by_equations, 0.0), Estimate(plain, 0.0)
            if M in SIZES[:1]:
                rates = _simulated(kind, unit, results), _simulated("WeightNorm", unit, results)
            found.append(Maximum(unit, M, *rates, zeta, by_equations))
    return found


def agreement_of(name: str) -> str:
    """Return when the claim on a way to train agrees."""
    return (
        rf"Maximum of {name} against that of WN plus $2\zeta$, linear and ReLU, each of $M = 8$, 32 and 128: at $M = 8$ from "
        "where students of frozen norm settle above it, beyond by the equations that L1 tests. Holds: nowhere below, two "
        "standard errors forgiven; approximately: nowhere below that of WN; else it does not."
    )


def finding_of(maxima: Sequence[Maximum], summary: str, correction: str | None = None) -> Finding:
    """Return the finding, whose verdict is the worst of theirs and whose headline is the first of them."""
    first, parts = maxima[0], {one.name: one.verdict for one in maxima}
    rows = [one.row for one in maxima]
    return finding(worst(parts.values()), first.rate, first.bound, summary, rows, correction, parts)


@cache
def _exact(kind: str, unit: Any, M: int) -> float:
    """Return the maximum learning rate by the equations, or the paper's zeta."""
    from bnlens.theory import paper_zeta
    from bnlens.theory.learning_rate import max_learning_rate

    if kind == "zeta":
        return float(paper_zeta(unit, M))
    return max_learning_rate(common.Case(kind, unit, batch_size=M).system())


def square(case: common.Case, results: Results) -> Estimate:
    """Return R^2, averaged over the times, and its standard error, as if the times said the same."""
    result = common.result_of(case, results)
    R, error = (sum(result[name]) / len(_TIMES) for name in ("R", "R_stderr"))
    return Estimate(R**2, 2 * R * error)


def _simulated(kind: str, unit: str, results: Results) -> Estimate:
    """Return eta_max from students that settle above it, weighted by their errors.

    Students at a rate eta settle at the overlap that the equations have at a rate eta': their maximum is that of the equations
    times eta/eta'. For a linear unit with WN or BN that is eta R^2.
    """
    weights, values = [], []
    for case in cases_of(kind, unit):
        found = square(case, results)
        scale = case.learning_rate * _exact(kind, unit, case.batch_size)
        low, value, high = (scale / _rate_of(case, found.value + step * found.stderr) for step in (-1, 0, 1))
        values.append(value)
        weights.append(max((high - low) / 2, 1e-9) ** -2)
    mean = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    return Estimate(mean, sum(weights) ** -0.5)


def _rate_of(case: common.Case, wanted: float) -> float:
    """Return the learning rate at which the equations settle at this R^2."""
    from scipy.optimize import brentq

    from bnlens.theory.learning_rate import stationary_state

    system = case.system()

    def above(logarithm: float) -> float:
        return stationary_state(replace(system, learning_rate=math.exp(logarithm))).R ** 2 - wanted

    slow, fast = math.log(case.batch_size / 4), math.log(case.batch_size * 100)
    return math.exp(brentq(above, slow, fast, xtol=1e-8)) if above(slow) > 0 else math.exp(slow)


def figure_of(kinds: Sequence[str], results: Results) -> Figure:
    """Return a figure of the stationary R^2 over the learning rate at the smallest M, by way to train and unit."""
    from bnlens.render import PALETTE, dense, new_figure
    from bnlens.theory.learning_rate import stationary_state

    M = SIZES[0]
    figure = new_figure(x=f"learning rate, M = {M}, norm frozen at 1", y="R², stationary", height=480)
    series = [(kind, unit) for kind in kinds for unit in common.UNITS]
    for (kind, unit), color in zip(series, PALETTE, strict=False):
        cases = cases_of(kind, unit)
        rates = dense([M - 1.0, _exact(kind, unit, M), 4.0 * M], 60)
        systems = [replace(cases[0], learning_rate=rate).system() for rate in rates]
        look = {"name": f"{common.NAMES[kind]}, {common.UNITS[unit]}", "color": color}
        common.draw_equations(figure, rates, [stationary_state(system).R ** 2 for system in systems], **look)
        squares = [square(case, results) for case in cases]
        common.draw_simulated(figure, [case.learning_rate for case in cases], squares, **look)
    return figure
