"""E1: batch normalization beside population normalization with gamma decay, in a convolutional network over M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding, worst
from bnlens.claims._losses import (
    LOSSES,
    Losses,
    difference,
    gamma_text,
    grade_recovered,
    grade_strengths,
    losses_of,
    sizes_of,
    strength,
)
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError

_PENALTIES = {"gamma-decay": "PN + gamma decay", "curvature": "PN + curvature penalty"}
_PN: Mapping[str, Any] = {"M": plans.POPULATION}
_parameters = partial(
    plans.parameters_where_bn_helps,
    net="resnet",
    M={"digits": [4, 16, 64, "inf"], "quick": [8, 64, "inf"], "full": [8, 32, 128, "inf"]},
    penalties={"digits": list(_PENALTIES), "quick": list(_PENALTIES), "full": ["gamma-decay"]},
)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E1", setup)
    for name in setup.parameters["penalties"]:
        if name not in _PENALTIES:
            raise UsageError(
                f"E1: parameter 'penalties': there is no penalty {name!r}; use one of {', '.join(_PENALTIES)}"
            )
    sizes = plans.finite_sizes(setup.parameters["M"])
    if not sizes:
        raise UsageError("E1: parameter 'M' has no finite batch size to compare with; add one, such as 16")
    kinds: list[dict[str, Any]] = [{}, *({"M": M} for M in sizes)]
    kinds += [{"M": M, "regulariser": name} for name in setup.parameters["penalties"] for M in sizes]
    return [plans.network_job(setup, seed, **kind) for kind in kinds for seed in plans.seeds_of(setup)]


class _Method(NamedTuple):
    """A way of normalising at one M: its losses, and how it stands to PN and BN over M, by entry of the results.

    A penalty has ``less_bn``, and ``strength`` where BN differs from PN by two standard errors.
    """

    label: str
    M: int
    losses: Losses
    less_pn: Mapping[str, Estimate]
    less_bn: Mapping[str, Estimate]
    strength: Mapping[str, Estimate]
    gamma: str

    @property
    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"method": self.label, "M": self.M, **self.losses.columns}
        for what, loss in LOSSES.items():
            for name, found in (
                (f"{loss} less PN's", self.less_pn),
                (f"{loss} less BN's", self.less_bn),
                (f"{loss}, strength", self.strength),
            ):
                if what in found:
                    row |= found[what].columns(name)
        return {**row, "rms γ": self.gamma}


def _labels(runs: TrainingRuns) -> dict[str, str | None]:
    """Return the penalty, by label, of what stands for BN over M, BN itself first."""
    present = runs.distinct("regulariser")
    return {"BN": None, **{label: name for name, label in _PENALTIES.items() if name in present}}


def _methods(runs: TrainingRuns) -> list[_Method]:
    methods = []
    for M in sizes_of(runs):
        bn = {"M": M}
        apart = [what for what in LOSSES if abs(difference(runs, what, bn, _PN).in_errors) >= 2]
        for label, penalty in _labels(runs).items():
            kind = {**bn, "regulariser": penalty}
            less_pn = {what: difference(runs, what, kind, _PN) for what in LOSSES}
            less_bn = {what: difference(runs, what, kind, bn) for what in LOSSES if penalty}
            strengths = {what: strength(runs, what, kind, bn, _PN) for what in apart if penalty}
            losses, gamma = losses_of(runs, **kind), gamma_text(runs, **kind)
            methods.append(_Method(label, M, losses, less_pn, less_bn, strengths, gamma))
    return methods


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    methods, pn = _methods(runs), losses_of(runs, **_PN)
    labels = _labels(runs)
    _, (label, _), *_ = labels.items()
    bn = {method.M: method.less_pn["test_loss"] for method in methods if method.label == "BN"}
    judged = [method for method in methods if method.label == label]
    recovered = {
        method.M: method.strength["test_loss"]
        for method in judged
        if bn[method.M].in_errors <= -2  # BN lowers the test loss
    }
    parts: dict[str, Verdict] = {
        f"test loss of BN recovered, M = {M}": grade_recovered(recovered[M]) if M in recovered else "premise not met"
        for M in bn
    }
    verdict = worst(parts.values())
    equal = [value for method in judged for value in method.strength.values()]
    parts["equal train and test losses (ours)"] = grade_strengths(equal) if equal else "premise not met"
    headline = next(iter(recovered.values()), Estimate(float("nan"), float("nan")))
    helps = ", ".join(f"{value.negated.brief('+.3f')} at $M = {M}$" for M, value in bn.items())
    shares = ", ".join(f"{value.brief('.2f')} at $M = {M}$" for M, value in recovered.items())
    smallest = methods[0].M
    losses = {"PN": pn, **{method.label: method.losses for method in methods[: len(labels)]}}
    at_smallest = "; ".join(
        f"{name} {found.train_loss.value:.3f} / {found.test_loss.value:.3f} / {100 * found.test_accuracy.value:.1f}%"
        for name, found in losses.items()
    )
    told = f"Of that {label} recovers {shares}" if shares else "So there is nothing that a penalty could recover"
    summary = (
        f"On {runs.data} ({runs.images} images), train loss / test loss / test accuracy at $M = {smallest}$: {at_smallest}. BN "
        f"lowers PN's test loss by {helps}. {told}; {pn.seeds} paired seeds."
    )
    rows = [{"method": "PN", **pn.columns}, *(method.row for method in methods)]
    return finding(verdict, headline, 1.0, summary, rows, parts=parts)


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, add_points, panels

    runs = TrainingRuns(results)
    sizes = sizes_of(runs)
    smallest = sizes[0]
    size = "statistics batch size M"
    titles = [[f"Training, M = {smallest}", f"Test, M = {smallest}"], ["Train loss over M", "Test loss over M"]]
    over_epochs = [("epoch", "loss of the steps (nats per image)"), ("epoch", "test loss (nats per image)")]
    over_sizes = [(size, "train loss (nats per image)"), (size, "test loss (nats per image)")]
    figure = panels(titles, [over_epochs, over_sizes], height=760)
    kinds = {label: {"M": smallest, "regulariser": penalty} for label, penalty in _labels(runs).items()}
    for index, (label, kind) in enumerate([*kinds.items(), ("PN", {**_PN})]):
        for column, what in ((1, "steps_loss"), (2, "test_loss")):
            curves = runs.curves(what, **kind)
            add_band(figure, curves, name=label, index=index, panel=(1, column), legend=column == 1)
        for column, what in enumerate(LOSSES, start=1):
            if label == "PN":
                x, values = ["inf"], [estimate(runs.values(what, **kind))]
            else:
                x = [str(M) for M in sizes]
                values = [estimate(runs.values(what, **{**kind, "M": M})) for M in sizes]
            add_points(figure, x, values, name=label, index=index, panel=(2, column), legend=False)
    order = [*(str(M) for M in sizes), "inf"]
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=order, row=2)
    return figure


CLAIM = Claim(
    id="E1",
    title="BN, PN and gamma decay in a convolutional network",
    statement=(
        r"In a convolutional network population normalization with gamma decay, $\zeta$ from the formula, recovers the test "
        "loss of BN over M, where that is below the one of population normalization alone. Judged apart, and ours: trained "
        "with either, a network has the same train and test loss. Beside it stands this library's curvature penalty."
    ),
    source="arXiv 1809.00846, experiments on BN as PN with gamma decay; theory sheet D",
    paper=PaperStatement(
        words=(
            "In a residual net PN with gamma decay recovers the validation result of BN over $M = 128$ and 1024, and PN "
            "alone does not."
        ),
        section="Experiments in CNNs, on BN as PN with gamma decay",
        known="as remembered",
        differs="a small residual net at small M, where BN does lower the test loss; that losses are equal is our question.",
    ),
    agreement=(
        "Strength is the share of the distance from PN to BN over M that PN with gamma decay covers. Holds: at each M where "
        "BN lowers PN's test loss by two standard errors, paired by seed, the strength in test loss is 0.75 or more (more "
        "than BN's is as good), one standard error forgiven; approximately: 0.5. Premise not met: BN over M does not lower "
        "PN's test loss by two standard errors at any M. Apart, ours, equal losses: at each M and loss where BN differs from "
        "PN by two standard errors the strength is within 0.25 of 1, one standard error forgiven; approximately: 0.5."
    ),
    quantity="share of BN's fall in test loss that PN with gamma decay recovers, at the first M where there is one",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
