"""The parts of a claim: the jobs that compute it, the finding that judges it, the figure that shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bnlens.claims._paper import PaperStatement, with_formulas
from bnlens.claims._results import Results
from bnlens.claims._setup import Scale, Setup, resolve
from bnlens.runs import Job

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
else:
    Figure = Any  # Plotly is imported when the first figure is drawn

__all__ = ["Claim", "Figure", "Finding", "Job", "PaperStatement", "Scale", "Setup", "Verdict"]

Verdict = Literal["holds", "holds approximately", "does not hold here", "premise not met"]


@dataclass(frozen=True)
class Finding:
    """The judgement of a claim from the results of its jobs.

    Attributes:
        verdict: ``"holds"``, ``"holds approximately"``, ``"does not hold here"``, or ``"premise not met"`` where the comparison
            needs an effect that the run does not show; ``summary`` then has the number that shows this.
        measured: the headline number.
        predicted: what the claim says that number is.
        stderr: standard error of ``measured``.
        summary: one or two sentences with the numbers. Like all texts here it may have formulas (`bnlens.render.MathText`).
        rows: the table of the report, one mapping of column name to value per row. A column named ``"X stderr"`` holds
            the standard errors of column ``"X"`` and is shown with it.
        corrects_paper: a sentence or two when the result corrects the paper, else None. Where the statement tested is not the
            paper's it becomes a part of ``summary``.
        parts: verdicts on parts of the statement that are judged apart, by name; empty where there is one verdict alone.
    """

    verdict: Verdict
    measured: float
    predicted: float
    stderr: float
    summary: str
    rows: Sequence[Mapping[str, Any]] = ()
    corrects_paper: str | None = None
    parts: Mapping[str, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with_formulas(self, "summary", "corrects_paper")

    @property
    def ratio(self) -> float:
        """``predicted / measured``; NaN when ``measured`` is zero.

        >>> Finding("holds", measured=2.0, predicted=1.9, stderr=0.1, summary="Close.").ratio
        0.95
        """
        return self.predicted / self.measured if self.measured else float("nan")


@dataclass(frozen=True)
class Claim:
    """A statement, the computation that tests it, and the rule that gives it a verdict.

    Attributes:
        id: short name used on the command line, for example ``"D1"``.
        title: a few words.
        statement: what is tested, in our words.
        source: section of the paper (arXiv 1809.00846) or of the theory sheet.
        agreement: in words, what *holds*, *holds approximately* and *does not hold here* mean for this claim, and *premise not
            met* if it has a premise: the rule, written before the run.
        quantity: the headline number of its findings, ``measured`` and ``predicted``, in words, with its unit.
        core: whether ``bnlens reproduce`` without ids runs it.
        jobs: from the setup to the jobs to run.
        judge: from the results, each with its job's configuration, to the finding.
        figure: from the same to a Plotly figure.
        parameters: from the scale and the folder with CIFAR-10 (or None) to the parameters that a user may set, such as
            the number of seeds, with their defaults: JSON data.
        works: ids in `bnlens.paper.works` of what the methods come from, beside the paper itself.
        paper: what the paper says of it; None for a claim that is ours.
    """

    id: str
    title: str
    statement: str
    source: str
    agreement: str
    quantity: str
    core: bool
    jobs: Callable[[Setup], Sequence[Job]]
    judge: Callable[[Results], Finding]
    figure: Callable[[Results], Figure]
    parameters: Callable[[Scale, Path | None], Mapping[str, Any]] | None = None
    works: Sequence[str] = ()
    paper: PaperStatement | None = None

    def __post_init__(self) -> None:
        with_formulas(self, "statement", "agreement")

    @property
    def premise(self) -> str | None:
        """The rule by which the premise is not met, from ``agreement``; None for a claim without a premise."""
        return self.agreement.partition("Premise not met: ")[2].partition(". ")[0].rstrip(".") or None

    def plan(
        self,
        scale: Scale = "quick",
        data: Path | None = None,
        changes: Mapping[str, Any] | None = None,
        *,
        check: bool = True,
    ) -> Sequence[Job]:
        """Return the jobs to run.

        Args:
            scale: ``"quick"`` or ``"full"``.
            data: folder with CIFAR-10.
            changes: values in place of defaults of ``parameters``.
            check: whether to look at data and nets, as before a run.

        Raises:
            UsageError: a change does not fit the parameters, or the scale needs ``data``.
            DataError: the data cannot be read or are too few.
        """
        defaults = {} if self.parameters is None else self.parameters(scale, data)
        return self.jobs(Setup(scale, data, resolve(self.id, defaults, changes or {}), check))
