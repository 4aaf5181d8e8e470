"""D5: the gap of trained networks on real images, layer by layer and as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bnlens.claims._claim import Claim, Figure, Finding, Job, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, finding, span
from bnlens.claims._figures import add_estimates
from bnlens.claims._results import Results
from bnlens.errors import UsageError
from bnlens.experiments.trained_gap import train_and_report

_NETWORK = "(network)"
_HEADLINE = 16  # the M of the training
_NETS = ("cnn", "resnet")
_DIGITS: Mapping[str, Any] = {"samples": None, "steps": 40, "lr": 0.1, "rounds": 6}
_CIFAR: Mapping[str, Any] = {"samples": 5000, "steps": 240, "lr": 0.3, "rounds": 10}
_LARGEST_ERROR = 0.07  # of a ratio; noise beyond it is no excuse
_SEEDS: dict[Scale, tuple[int, ...]] = {"quick": (0,), "full": (0, 1)}


def _jobs(setup: Setup) -> Sequence[Job]:
    scale, data = setup.scale, setup.data
    if scale == "full" and data is None:
        raise UsageError("D5 at scale full trains on CIFAR-10; give its folder with --data DIR, or use --scale quick")
    source = "digits" if data is None else str(data)
    recipe = _DIGITS if data is None else _CIFAR
    if data is not None and setup.check:
        from bnlens.train import load_data

        load_data(source, samples=_CIFAR["samples"])  # so that bad data end the run before it begins
    return [
        Job(f"{net}-seed{seed}", train_and_report, {"net": net, "data": source, "seed": seed, **recipe}, cost=200.0)
        for net in _NETS
        for seed in _SEEDS[scale]
    ]


class _Gap(NamedTuple):
    """The gap of a layer or of the whole network at M, measured and predicted, in nats per sample."""

    network: str
    layer: str
    M: int
    measured: Estimate
    predicted: Estimate
    first_order: Estimate
    fisher: Estimate
    two_term: Estimate


def _gaps(results: Results) -> list[_Gap]:
    kinds = ("measured", "predicted", "first_order", "fisher", "two_term")
    return [
        _Gap(
            f"{config['net']}-seed{config['seed']}",
            entry["layer"],
            entry["statistics_batch_size"],
            *(Estimate(entry[kind], entry[f"{kind}_stderr"]) for kind in kinds),
        )
        for config, result in results
        for entry in result["rows"]
    ]


def _judge(results: Results) -> Finding:
    gaps = _gaps(results)
    networks = [gap for gap in gaps if gap.layer == _NETWORK]
    whole, fisher, curve = (_ratios(networks, kind) for kind in ("first_order", "fisher", "predicted"))
    layers = _ratios([gap for gap in gaps if gap.layer != _NETWORK], "first_order")
    two_term = _ratios(gaps, "two_term")
    first = next(gap for gap in networks if gap.M == _HEADLINE)
    data = next(iter(results)).result["data"]
    correction = (
        r"The paper's value, the sum over channels and layers of $\zeta\gamma^2$, is "
        f"{_range(two_term)} of the measured gap: it leaves out the covariance between channels and "
        r"between $\gamma$ and $\beta$, each image's share in its own batch, and what later layers cancel."
    )
    summary = (
        f"On {data}, whole-network prediction over measurement is {_range(whole)} by the first-order law, {_range(fisher)} "
        f"with the Fisher matrix in it, and {_range(curve)} by the curve through the gaps at other sizes; "
        f"{_agreeing(layers, 0.15)} of {len(layers)} single-layer predictions of the law lie "
        "within 15% or two standard errors."
    )
    corrects_paper = correction if _agreeing(two_term, 0.15) < len(two_term) else None  # also where the claim holds
    found = finding(
        _verdict(whole, layers), first.measured, first.first_order.value, summary, [_row(gap) for gap in gaps]
    )
    return replace(found, corrects_paper=corrects_paper)


def _row(gap: _Gap) -> dict[str, Any]:
    row: dict[str, Any] = {"network": gap.network, "layer": gap.layer, "M": gap.M, **gap.measured.columns("measured")}
    for name, predicted in _predictions(gap):
        row |= predicted.columns(name) | gap.measured.under(predicted).columns(f"{name} / measured")
    return row


def _predictions(gap: _Gap) -> Sequence[tuple[str, Estimate]]:
    found = ("predicted", gap.predicted), ("first order", gap.first_order)
    return *found, ("Fisher", gap.fisher), ("two-term", gap.two_term)


def _ratios(gaps: Sequence[_Gap], kind: str) -> list[Estimate]:
    """Return predictions of one kind over what is measured."""
    return [gap.measured.under(getattr(gap, kind)) for gap in gaps]


def _range(ratios: Sequence[Estimate]) -> str:
    return span(ratio.value for ratio in ratios)


def _agreeing(ratios: Sequence[Estimate], tolerance: float) -> int:
    """Return how many ratios of prediction to measurement are near one."""
    return sum(abs(ratio.value - 1) <= max(tolerance, 2 * min(ratio.stderr, _LARGEST_ERROR)) for ratio in ratios)


def _verdict(networks: Sequence[Estimate], layers: Sequence[Estimate]) -> Verdict:
    if _agreeing(networks, 0.1) == len(networks) and _agreeing(layers, 0.15) == len(layers):
        return "holds"
    if _agreeing(networks, 0.25) == len(networks) and _agreeing(layers, 0.25) >= 0.9 * len(layers):
        return "holds approximately"
    return "does not hold here"


def _figure(results: Results) -> Figure:
    from bnlens.render import ROLES, new_figure

    figure = new_figure(
        x="measured gap (nats per sample)", y="predicted / measured", xaxis_type="log", yaxis_type="log", height=460
    )
    gaps = _gaps(results)
    kinds = (("first_order", "first-order law", "predicted"), ("two_term", "the paper's two terms", "paper"))
    for kind, label, role in kinds:
        for whole in (False, True):
            some = [gap for gap in gaps if (gap.layer == _NETWORK) == whole]
            text = [f"{gap.network}, {gap.layer}, M = {gap.M}" for gap in some]
            symbol = ROLES[role]["symbol"] + ("" if whole else "-open")
            marker = {"color": ROLES[role]["color"], "symbol": symbol, "size": 12 if whole else 7}
            name = f"{label}, {'whole network' if whole else 'single layers'}"
            measured = [gap.measured for gap in some]
            add_estimates(figure, name, measured, _ratios(some, kind), marker=marker, text=text)
    figure.add_hline(y=1, line={"dash": "dot", "width": 1.5, "color": ROLES["measured"]["color"]})
    return figure


CLAIM = Claim(
    id="D5",
    title="The gap of trained networks",
    statement=(
        "In a trained convolutional network, the gap of each BN layer and of the whole network follows from per-image "
        r"gradients of $\gamma$ and $\beta$ and from the statistics of groups of another size."
    ),
    source="theory sheet D.1 and D.2; extends arXiv 1809.00846, Theorem 1, from one unit to networks",
    paper=PaperStatement(
        words="The decomposition is derived for one block: a kernel, a BN layer and an activation.",
        section="Abstract; A probabilistic interpretation of BN, Theorem 1",
        known="abstract",
        differs=(
            r"the paper has no formula for a network; to sum $\zeta\gamma^2$ over its channels and layers is our reading, "
            "and the law that is judged is ours."
        ),
    ),
    agreement=(
        "Holds: every whole-network prediction of the first-order law (antithetic second order, groups of another size) "
        "within 10% of the measured gap, every single layer within 15%, or within two standard errors where those are 7% or "
        "less. Holds approximately: networks and nine in ten layers within 25%."
    ),
    quantity="gap of the first network at M = 16, in nats per image",
    works=(
        "ioffe2015batch",
        "hoffer2017train",
        "wu2021rethinking",
        "martens2020new",
        "kunstner2019limitations",
        "chan1979updating",
        "pebay2008formulas",
        "he2015delving",
        "he2016deep",
        "alpaydin1998optical",
        "krizhevsky2009learning",
    ),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
)
