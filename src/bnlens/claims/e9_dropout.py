"""E9: weight normalization with dropout beside batch normalization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlens.claims import _weight_norm
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, worst
from bnlens.claims._losses import (
    difference,
    differences,
    grade_change,
    losses_of,
    losses_text,
    sizes_of,
    test_loss_figure,
)
from bnlens.claims._results import Results, TrainingRuns

_REACHES = "dropout reaches BN"


def _parameters(scale: Scale, data: Path | None) -> Mapping[str, Any]:
    return {**_weight_norm.parameters(scale, data), "dropout": [0.1, 0.2]}


def _jobs(setup: Setup) -> Sequence[Job]:
    kinds = _kinds(setup.parameters["M"], dict.fromkeys(setup.parameters["dropout"]))
    return _weight_norm.jobs_of("E9", setup, list(kinds.values()))


def _kinds(M: int, rates: Iterable[float]) -> dict[str, dict[str, Any]]:
    """Return the kinds of run by label: WN, BN over M, WN with each dropout."""
    dropout = {f"WN + dropout {rate:g}": {**_weight_norm.ALONE, "dropout": rate} for rate in rates}
    return {"WN": {**_weight_norm.ALONE}, "BN": {"M": M}, **dropout}


def _trained(runs: TrainingRuns) -> dict[str, dict[str, Any]]:
    return _kinds(sizes_of(runs)[0], [rate for rate in runs.distinct("dropout") if rate])


def _parts(runs: TrainingRuns, changes: Mapping[str, Estimate], best: str) -> dict[str, Verdict]:
    """Return the verdict on each part.

    Args:
        runs: all of them.
        changes: by label, test loss less that of WN.
        best: label of the better dropout.
    """
    kinds = _trained(runs)
    parts = {f"{label} below WN": grade_change(changes[label].negated) for label in list(kinds)[2:]}
    if changes["BN"].in_errors > -2:
        return dict.fromkeys([*parts, _REACHES], "premise not met")
    found: Verdict = "does not hold here"
    if difference(runs, "test_loss", kinds[best], kinds["BN"]).in_errors < 2:
        found = "holds"
    elif changes[best].value <= changes["BN"].value / 2:
        found = "holds approximately"
    return {**parts, _REACHES: found}


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    kinds = _trained(runs)
    losses = {label: losses_of(runs, **kind) for label, kind in kinds.items()}
    changes = {label: difference(runs, "test_loss", kind, kinds["WN"]) for label, kind in kinds.items()}
    best = min(list(kinds)[2:], key=lambda label: changes[label].value)
    parts = _parts(runs, changes, best)
    rows = []
    for label, kind in kinds.items():
        row: dict[str, Any] = {"net": label, "M": kind["M"], **losses[label].columns}
        if label != "WN":
            row |= differences(runs, kind, kinds["WN"], "less WN's")
        rows.append(row)
    fallen = ", ".join(f"{change.brief('+.3f')} with {label}" for label, change in changes.items() if label != "WN")
    summary = (
        f"On {runs.data} ({runs.images} images), train / test loss: {losses_text(losses)}, BN over M = {kinds['BN']['M']}. "
        f"Test loss less that of WN: {fallen}. Headline: the test loss of {best}, beside BN's; "
        f"{runs.seeds(**kinds['WN'])} paired seeds."
    )
    verdict = worst(parts.values())
    return finding(verdict, losses[best].test_loss, losses["BN"].test_loss.value, summary, rows, parts=parts)


def _figure(results: Results) -> Figure:
    runs = TrainingRuns(results)
    over = "train loss (nats per image)"
    return test_loss_figure(runs, _trained(runs), over, lambda losses: losses.train_loss, height=460)


CLAIM = Claim(
    id="E9",
    title="Weight normalization with dropout",
    statement=(
        "In a net with weight normalization (WN) dropout of 0.1 and of 0.2 lowers the test loss, and the better of the two "
        "brings it near that of BN over M samples."
    ),
    source="arXiv 1809.00846, experiments on weight normalization",
    paper=PaperStatement(
        words="A net with weight normalization is also trained with dropout of 0.1 and of 0.2, and set beside BN.",
        section="Experiments in CNNs, on weight normalization",
        known="as remembered",
        differs=(
            "the paper's outcome, and where its dropout stands, are not remembered: that dropout regularises as BN does is our "
            "reading, and ours acts on the inputs of the last layer."
        ),
    ),
    agreement=(
        "Test losses paired by seed. Premise not met: BN over M does not lower the test loss below that of WN by two standard "
        "errors, so that there is nothing to reach. Each dropout rate: holds where the test loss falls below that of WN by two "
        "standard errors or more, approximately by one. Reaching BN, by the better rate: holds where its test loss is not above"
        " BN's by two standard errors, approximately where it goes at least half of the way from WN's to BN's. Holds: all parts"
        " do; holds approximately: none fails. Does not hold: otherwise."
    ),
    works=("salimans2016weight", "srivastava2014dropout"),
    quantity="test loss of the better dropout with weight normalization, in nats per image; claimed is that of BN",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
