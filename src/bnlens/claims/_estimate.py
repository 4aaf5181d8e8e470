"""Estimates with standard errors: means over seeds, shares of a distance, and grades of deviations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnlens.claims._claim import Finding, Verdict

__all__ = ["Estimate", "estimate", "farthest", "finding", "grade", "share_of_distance", "span", "worst"]


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    stderr: float

    @property
    def in_errors(self) -> float:
        """The value in units of its standard error; 0 where both are 0."""
        if self.stderr:
            return self.value / self.stderr
        return float(np.copysign(np.inf, self.value)) if self.value else 0.0

    @property
    def negated(self) -> Estimate:
        """The value with its sign turned."""
        return Estimate(-self.value, self.stderr)

    @property
    def text(self) -> str:
        """The value with its standard error, for a sentence."""
        return f"{self.value:.3g} ± {self.stderr:.1g}"

    def brief(self, form: str) -> str:
        """Return the value in a format, with its standard error in parentheses.

        >>> Estimate(0.5, 0.0321).brief("+.3f")
        '+0.500(0.032)'
        """
        return f"{self.value:{form}}({self.stderr:{form.removeprefix('+')}})"

    def columns(self, name: str) -> dict[str, float]:
        """Return the estimate as two columns of a table."""
        return {name: self.value, f"{name} stderr": self.stderr}

    def under(self, predicted: float | Estimate) -> Estimate:
        """Return ``predicted``, a number without error or an independent estimate, over this value."""
        value, stderr = predicted if isinstance(predicted, Estimate) else (predicted, 0.0)
        ratio = value / self.value
        return Estimate(ratio, math.hypot(stderr, ratio * self.stderr) / abs(self.value))

    def less(self, number: float) -> Estimate:
        """Return the value less a number that is known."""
        return Estimate(self.value - number, self.stderr)


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean over seeds with its standard error."""
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def share_of_distance(part: NDArray[np.float64], whole: NDArray[np.float64]) -> Estimate:
    """Return the mean of ``part`` over that of ``whole``, differences paired by seed; the error is the jackknife's.

    >>> share_of_distance(np.array([1.0, 1.0]), np.array([4.0, 4.0]))
    Estimate(value=0.25, stderr=0.0)
    """
    count = len(part)
    left_out = (part.sum() - part) / (whole.sum() - whole)
    spread = (count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()
    return Estimate(float(part.mean() / whole.mean()), float(np.sqrt(spread)))


def grade(deviations: Iterable[Estimate], *, close: float = 0.05, near: float = 0.15, forgiven: float = 2) -> Verdict:
    """Return the verdict on relative deviations, of each of which some standard errors are forgiven."""
    worst = max(abs(deviation.value) - forgiven * deviation.stderr for deviation in deviations)
    if worst <= close:
        return "holds"
    return "holds approximately" if worst <= near else "does not hold here"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of the verdicts whose premise is met; without any, that it is not.

    >>> worst(["holds", "premise not met", "holds approximately"])
    'holds approximately'
    """
    order: Sequence[Verdict] = ("does not hold here", "holds approximately", "holds")
    return min((verdict for verdict in verdicts if verdict in order), key=order.index, default="premise not met")


def farthest(deviations: Iterable[Estimate]) -> float:
    """Return the largest deviation without its sign."""
    return max(abs(deviation.value) for deviation in deviations)


def span(values: Iterable[float], digits: int = 2) -> str:
    """Return "low to high" of some numbers."""
    numbers = sorted(values)
    return f"{numbers[0]:.{digits}f} to {numbers[-1]:.{digits}f}"


def finding(
    verdict: Verdict,
    headline: Estimate,
    predicted: float,
    summary: str,
    rows: Sequence[Mapping[str, Any]],
    correction: str | None = None,
    parts: Mapping[str, Verdict] | None = None,
) -> Finding:
    """Return the finding; a claim that holds, or whose premise is not met, corrects nothing."""
    corrects_paper = None if verdict in ("holds", "premise not met") else correction
    return Finding(verdict, headline.value, predicted, headline.stderr, summary, rows, corrects_paper, parts or {})
