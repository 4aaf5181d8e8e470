"""E5: the largest learning rate that a convolutional network survives, and its effective learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnlens.claims import _plans as plans
from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding
from bnlens.claims._results import Results, TrainingRuns
from bnlens.errors import UsageError
from bnlens.experiments.rates import try_rates

_LABELS = {"bn": "BN", "pn": "PN", "none": "no normalization"}
_RATES = [2 ** (half / 2) for half in range(-6, 9)]  # 0.125 to 16
_parameters = partial(plans.parameters, steps={"digits": 40, "quick": 40, "full": 60}, rates=_RATES)


def _jobs(setup: Setup) -> Sequence[Job]:
    plans.check_setup("E5", setup)
    given = setup.parameters
    rates = sorted({float(rate) for rate in given["rates"]})
    if len(rates) < 2:
        raise UsageError(f"E5: parameter 'rates' needs at least two learning rates, got {given['rates']}")
    config = {name: given[name] for name in ("net", "samples", "steps", "batch_size")}
    config |= {"data": plans.source_of(setup), "rates": rates}
    trained = plans.network_job(setup, 0)
    cost = trained.cost * len(rates) * given["steps"] * given["batch_size"] / (given["samples"] * given["epochs"])
    jobs = [
        Job(f"rates-{kind}-seed{seed}", try_rates, {**config, "normalisation": kind, "seed": seed}, cost=cost)
        for kind in _LABELS
        for seed in plans.seeds_of(setup)
    ]
    for M in (given["batch_size"], plans.POPULATION):
        jobs += [plans.network_job(setup, seed, M=M) for seed in plans.seeds_of(setup)]
    return jobs


def _trials(results: Results, kind: str) -> list[Mapping[str, Any]]:
    """Return the results of `try_rates` for a normalisation, in the order of their seeds."""
    found = sorted(results.select(normalisation=kind), key=lambda job: int(job.config["seed"]))
    return [job.result for job in found]


def bracket(trials: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the largest rate below which nothing diverged, and the smallest that diverged; 0 and infinity beyond the grid.

    >>> bracket([{"lr": 1.0, "diverged": False}, {"lr": 2.0, "diverged": True}, {"lr": 4.0, "diverged": False}])
    (1.0, 2.0)
    """
    first = next((index for index, trial in enumerate(trials) if trial["diverged"]), len(trials))
    below = trials[first - 1]["lr"] if first else 0.0
    return below, trials[first]["lr"] if first < len(trials) else math.inf


def _boundaries(results: Results, kind: str) -> NDArray[np.float64]:
    """Return log 2 of the boundary, the middle of the bracket, (seeds,); half a step beyond the grid at its ends."""
    found = []
    for result in _trials(results, kind):
        rates = [trial["lr"] for trial in result["trials"]]
        low, high = bracket(result["trials"])
        low = low or rates[0] ** 2 / rates[1]
        high = high if math.isfinite(high) else rates[-1] ** 2 / rates[-2]
        found.append(math.log2(low * high) / 2)
    return np.array(found)


def _step(results: Results) -> float:
    """Return the largest step of the grid, log 2."""
    rates = [trial["lr"] for trial in _trials(results, "bn")[0]["trials"]]
    return max(math.log2(after / before) for before, after in pairwise(rates))


def _judge(results: Results) -> Finding:
    bounds = {kind: _boundaries(results, kind) for kind in _LABELS}
    over_none = {kind: estimate(bounds[kind] - bounds["none"]) for kind in ("bn", "pn")}
    over_pn = estimate(bounds["bn"] - bounds["pn"])
    first = _trials(results, "bn")[0]
    told = ", ".join(f"{label} {_range(results, kind)}" for kind, label in _LABELS.items())
    runs = TrainingRuns(results)
    summary = (
        f"On {first['data']}, {first['trials'][0]['steps']} steps at a constant rate: largest stable rate and smallest "
        f"that diverges, over {len(bounds['bn'])} seeds: {told}. BN's boundary is {2 ** over_none['bn'].value:.1f} times "
        f"and PN's {2 ** over_none['pn'].value:.1f} times that without normalization. Headline: BN's over PN's boundary, "
        f"in doublings; claimed is at least a step of the grid. {_effective(runs)}"
    )
    rows = [*_bracket_rows(results), *_rate_rows(results), *_norm_rows(runs)]
    step = _step(results)
    return finding(_verdict(over_none, over_pn, step), over_pn, step, summary, rows)


def _range(results: Results, kind: str) -> str:
    brackets = [bracket(result["trials"]) for result in _trials(results, kind)]
    lows, highs = ([f"{value:.3g}" for value in sorted({pair[end] for pair in brackets})] for end in (0, 1))
    return f"{lows[0]}{'' if len(lows) == 1 else ' to ' + lows[-1]} / {highs[0]}{'' if len(highs) == 1 else ' to ' + highs[-1]}"


def _verdict(over_none: Mapping[str, Estimate], over_pn: Estimate, step: float) -> Verdict:
    def above(difference: Estimate) -> bool:
        return difference.in_errors >= 2 and difference.value >= step * (1 - 1e-9)

    if not all(above(difference) for difference in over_none.values()):
        return "does not hold here"
    if above(over_pn):
        return "holds"
    return "holds approximately" if over_pn.value >= -step * (1 + 1e-9) else "does not hold here"


def _bracket_rows(results: Results) -> list[dict[str, Any]]:
    rows = []
    for kind, label in _LABELS.items():
        for result in _trials(results, kind):
            low, high = bracket(result["trials"])
            row = {"what": "bracket", "normalization": label, "seed": result["seed"], "largest stable lr": low or None}
            rows.append({**row, "smallest diverging lr": high if math.isfinite(high) else None})
    return rows


def _rate_rows(results: Results) -> list[dict[str, Any]]:
    rows = []
    for kind, label in _LABELS.items():
        for trials in zip(*(result["trials"] for result in _trials(results, kind)), strict=True):
            row: dict[str, Any] = {"what": "rate", "normalization": label, "lr": trials[0]["lr"]}
            row["diverged"] = f"{sum(trial['diverged'] for trial in trials)} of {len(trials)}"
            for name, key in (("loss after the steps", "loss"), ("growth of weight norm", "growth")):
                values = [trial[key] for trial in trials]
                if None not in values:
                    row |= estimate(np.array(values)).columns(name)
            rows.append(row)
    return rows


def _effective_rates(runs: TrainingRuns, kind: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the learning rate over the squared norm of each weight, (seeds, epochs, layers)."""
    lr = runs.curves("lr", **kind)[..., np.newaxis]
    rates: NDArray[np.float64] = lr / runs.curves("weight_norm", **kind) ** 2
    return rates


def _kinds(runs: TrainingRuns) -> dict[str, dict[str, Any]]:
    sizes = runs.distinct("statistics_batch_size")
    return {"BN": {"M": sizes[0]}, "PN": {"M": sizes[-1]}}


def _norm_rows(runs: TrainingRuns) -> list[dict[str, Any]]:
    rows = []
    for label, kind in _kinds(runs).items():
        rates, norms = _effective_rates(runs, kind), runs.curves("weight_norm", **kind)
        for epoch in range(rates.shape[1]):
            for layer in range(rates.shape[2]):
                row = {"what": "norm", "normalization": label, "epoch": epoch + 1, "weight": layer + 1}
                row |= estimate(norms[:, epoch, layer]).columns("weight norm")
                rows.append(row | estimate(rates[:, epoch, layer]).columns("lr / norm²"))
    return rows


def _effective(runs: TrainingRuns) -> str:
    grown = []
    for label, kind in _kinds(runs).items():
        norms = runs.curves("weight_norm", **kind)
        grown.append(f"{label} {estimate((norms[:, -1] / norms[:, 0]).mean(1)).value:.2f}")
    return f"In a whole run, weight norms grow from the first epoch to the last by {' and '.join(grown)} times."


def _figure(results: Results) -> Figure:
    from bnlens.claims._figures import add_band, add_points, panels

    runs = TrainingRuns(results)
    axes = [
        ("learning rate", "loss of the last steps (nats per image)"),
        ("epoch", "learning rate / squared weight norm"),
    ]
    figure = panels([["Short runs at one rate", "Whole runs"]], [axes], height=460)
    chance = _trials(results, "bn")[0]["chance"]
    for index, (kind, label) in enumerate(_LABELS.items()):
        found = [
            (trials[0]["lr"], estimate(np.minimum([trial["loss"] for trial in trials], 2 * chance)))
            for trials in zip(*(result["trials"] for result in _trials(results, kind)), strict=True)
            if all(trial["loss"] is not None for trial in trials)
        ]
        kept = [pair for pair in found if pair[1].value < 2 * chance]
        add_points(figure, [rate for rate, _ in kept], [loss for _, loss in kept], name=label, index=index)
    line, said = {"width": 1, "dash": "dot", "color": "#8a8f98"}, {"text": "chance"}
    figure.add_hline(chance, line=line, annotation=said, annotation_position="bottom right", row=1, col=1)
    for index, (label, selection) in enumerate(_kinds(runs).items()):
        rates = _effective_rates(runs, selection).mean(2)
        add_band(figure, rates, name=label, index=index, panel=(1, 2), legend=False)
    figure.update_xaxes(type="log", row=1, col=1)
    figure.update_yaxes(type="log", exponentformat="power", row=1, col=2)
    return figure


CLAIM = Claim(
    id="E5",
    title="The largest learning rate of a convolutional network",
    statement=(
        "BN trains at larger learning rates than a net without normalization, and larger ones than population normalization, "
        "because its regularisation raises the largest rate further. Effective learning rates, lr over the squared norm of a "
        "weight, are shown beside."
    ),
    source="arXiv 1809.00846, on maximum and effective learning rates; theory sheet B.2, for single units see L3 and L4",
    paper=PaperStatement(
        words="BN trains at larger maximum and effective learning rates, and nets share the traits of the single unit.",
        section="Abstract; Optimization with regularization; Experiments in CNNs",
        known="abstract",
        differs="the paper orders the rates of single units; the largest rate that a net survives is our counterpart.",
    ),
    agreement=(
        "Short runs at constant rates of a grid; one diverges if a loss is not finite or the mean of its last ten lies above "
        "chance. The boundary is between the largest rate up to which nothing diverged and the next. Holds: BN's boundary is "
        "above PN's, and both are above that without normalization, by at least a step of the grid and two standard errors. "
        "Holds approximately: both are above that without, and BN's is not below PN's by more than a step. Does not hold: "
        "otherwise."
    ),
    quantity="doublings from the largest stable learning rate of PN to that of BN; the claim is a lower bound",
    core=False,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=_parameters,
)
