"""E6: batch normalization at a large batch, and what brings its regularisation back: dropout, or a smaller M."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, worst
from bnlens.claims._losses import Kind, difference, differences, grade_change, losses_of, losses_text, test_loss_figure
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError

_parameters = partial(
    plans.parameters_where_bn_helps,
    steps={"digits": 150, "quick": 40, "full": 400},
    batch_size={"digits": 64, "quick": 128, "full": 128},
    large_batch={"digits": 512, "quick": 1024, "full": 1024},
    M={"digits": 4, "quick": 16, "full": 16},
    dropout=[0.1, 0.2],
)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E6", setup)
    given = setup.parameters
    large, small, M = given["large_batch"], given["batch_size"], given["M"]
    if small >= large:
        raise UsageError(f"E6: parameter 'batch_size', {small}, must be below 'large_batch', {large}")
    if large <= M:
        raise UsageError(f"E6: parameter 'M' needs a size below the large batch of {large}, got {M}")
    kinds: list[dict[str, Any]] = [{"M": size, "batch_size": large} for size in (large, M, plans.POPULATION)]
    kinds += [{"M": large, "batch_size": large, "dropout": rate} for rate in dict.fromkeys(given["dropout"])]
    kinds.append({"M": small, "batch_size": small})
    return [
        plans.network_job(setup, seed, steps=given["steps"], **kind) for kind in kinds for seed in plans.seeds_of(setup)
    ]


class _Trained(NamedTuple):
    """A kind of run, what the tables call it, and its role.

    The roles are ``"plain"``, ``"smaller"`` (M), ``"none"`` (PN), ``"dropout"`` and ``"small"`` (batch).
    """

    role: str
    label: str
    kind: Kind


def _trained(runs: TrainingRuns) -> list[_Trained]:
    """Return the kinds of run, as given: plain BN, smaller M, dropout, a small batch."""
    large = max(runs.distinct("batch_size"))
    found: dict[str, _Trained] = {}
    for config, _ in runs:
        M, batch, rate = config["statistics_batch_size"], config["batch_size"], config["dropout"]
        if batch < large:
            role, label = "small", f"small batch, {batch}"
        elif rate:
            role, label = "dropout", f"dropout {rate:g}"
        elif M == plans.POPULATION:
            role, label = "none", "PN"
        else:
            role, label = ("plain", "plain BN") if large == M else ("smaller", f"M = {M}")
        kind = {"M": M, "batch_size": batch, "dropout": rate, "steps": config["steps"]}
        found.setdefault(label, _Trained(role, label, kind))
    return list(found.values())


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    trained = _trained(runs)
    losses = {one.label: losses_of(runs, **one.kind) for one in trained}
    first = {one.role: one for one in reversed(trained)}
    plain, smaller, dropout, none = (first[role] for role in ("plain", "smaller", "dropout", "none"))
    of_plain, of_smaller = (difference(runs, "test_loss", none.kind, one.kind) for one in (plain, smaller))
    gains = {one.label: difference(runs, "test_loss", plain.kind, one.kind) for one in (smaller, dropout)}
    met = of_smaller.in_errors >= 2
    parts: dict[str, Verdict] = {
        f"{plain.label} regularises little": _is_little(of_plain, of_smaller) if met else "premise not met",
        f"{dropout.label} helps": grade_change(gains[dropout.label]),
    }
    ours: dict[str, Verdict] = {f"{smaller.label} helps (ours)": grade_change(gains[smaller.label])}
    rows = []
    for role, label, kind in trained:
        row = {"trained with": label, "batch size": kind["batch_size"], "M": kind["M"]}
        row |= {"lr": runs.select(**kind)[0].config["lr"], **losses[label].columns}
        if role != "plain":
            row |= differences(runs, kind, plain.kind, "less plain BN's")
        rows.append(row)
    by_dropout, by_smaller = (gains[one.label].brief(".3f") for one in (dropout, smaller))
    summary = (
        f"On {runs.data} ({runs.images} images) after {plain.kind['steps']} steps of {plain.kind['batch_size']}, train / test "
        f"loss: {losses_text(losses)}. PN's test loss falls by {of_plain.brief('.3f')} with BN over the batch and by "
        f"{of_smaller.brief('.3f')} with {smaller.label}; plain BN's falls by {by_dropout} with {dropout.label} and by "
        f"{by_smaller} with {smaller.label}. Headline: the fall with {dropout.label}; {runs.seeds(**plain.kind)} paired "
        "seeds, equal numbers of steps."
    )
    claimed = gains[smaller.label].value
    return finding(worst(parts.values()), gains[dropout.label], claimed, summary, rows, parts=parts | ours)


def _is_little(plain: Estimate, smaller: Estimate) -> Verdict:
    return "holds" if plain.in_errors < 2 or plain.value < smaller.value / 2 else "does not hold here"


def _figure(results: Results) -> Figure:
    runs = TrainingRuns(results)
    kinds = {one.label: one.kind for one in _trained(runs)}
    return test_loss_figure(
        runs, kinds, "test less train loss (nats per image)", lambda losses: losses.excess, height=480
    )


CLAIM = Claim(
    id="E6",
    title="Large batches",
    statement=(
        "At a large batch BN over it regularises little, and dropout of 0.1 before the last layer lowers the test loss. Ours, "
        "and apart: a smaller statistics batch size M does, too."
    ),
    source="arXiv 1809.00846, experiments on large batches; this library's dial",
    paper=PaperStatement(
        words="At $M = 1024$ BN regularises little, and dropout of 0.1 behind it helps.",
        section="Experiments in CNNs, on large batches",
        known="as remembered",
        differs="that a smaller M restores what is lost is our conclusion, and needs this library's dial.",
    ),
    agreement=(
        "At the large batch, equal numbers of steps, paired by seed; of the dropout rates the first given is judged. Holds: "
        "BN over the batch lowers PN's test loss by less than two standard errors or by less than half of what the smaller M "
        "does, and dropout lowers plain BN's test loss by two standard errors; approximately: dropout does by one. Apart, "
        "ours: the same for the smaller M. Premise not met: at the large batch BN over the smaller M does not lower PN's test "
        "loss by two standard errors, so that there is no regularisation to lose; this leaves the part on dropout."
    ),
    quantity="nats per image that dropout takes off the test loss, beside those that a smaller M does",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
