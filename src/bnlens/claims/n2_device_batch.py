"""N2: with the statistics batch size set, the device batch no longer matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._paired import Estimate, Runs, check_full_scale, estimate, share_of_distance
from bnlens.claims._training import job_of_run, recipe_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]

_BATCH = 256
_DIGITS, _CIFAR = 16, 64  # the statistics batch size that is set
_SEEDS: Mapping[Scale, int] = {"quick": 4, "full": 6}
_DEVICES = {_DIGITS: (8, 4), _CIFAR: (32, 16, 8, 4, 2)}
_CLOSED = {4: 0.75, 8: 0.6}  # least share closed at a device batch of M over this


def _jobs(setup: Setup) -> Sequence[Job]:
    from bnlens.nn import matching_window

    check_full_scale("N2", setup.scale, setup.data)
    recipe = recipe_of(setup.data)
    M = _DIGITS if setup.data is None else _CIFAR
    kinds = [(M, M), (M, _BATCH)]
    for device in _DEVICES[M]:
        # BN over this many samples, as ghost groups; and the dial
        kinds += [(device, _BATCH), (matching_window(M, device), device)]
    return [
        job_of_run(recipe, size, device, seed) for size, device in kinds for seed in range(setup.parameters["seeds"])
    ]


def _dialled(runs: Runs) -> int:
    """The statistics batch size that was set."""
    return _CIFAR if runs.seeds(_CIFAR, _CIFAR) else _DIGITS


def _rows(runs: Runs) -> Iterator[dict[str, Any]]:
    """One row per device batch: distance of plain BN and of the dial from BN over M, and the share closed."""
    from bnlens.nn import matching_window

    M = _dialled(runs)
    for device in (_BATCH, *_DEVICES[M]):
        size = matching_window(M, device)
        row: dict[str, Any] = {"device batch": device, "statistics batch size": M}
        if device < M:
            row["window"] = size
        for name, what in (("train loss", "train_loss"), ("test loss", "test_loss")):
            target = runs.values(what, M, M)
            dial = runs.values(what, size, device) - target
            row |= estimate(dial).columns(f"{name}, dial")
            if device < M:
                plain = runs.values(what, device, _BATCH) - target
                row |= estimate(plain).columns(f"{name}, plain BN")
                closed = share_of_distance(dial, plain)
                row |= Estimate(1 - closed.value, closed.stderr).columns(f"{name}, closed")
        yield row


def _told_apart(row: Mapping[str, Any]) -> bool:
    """Whether the dial's train loss differs from that of BN over M by more than two standard errors."""
    return bool(abs(row["train loss, dial"]) > 2 * row["train loss, dial stderr"])


def _verdict(rows: Sequence[Mapping[str, Any]], M: int) -> Verdict:
    if not any(_told_apart(row) for row in rows):
        return "holds"
    near = [row for row in rows if row["device batch"] >= M / 2]
    least = {M // part: share for part, share in _CLOSED.items()}
    closes = [row["train loss, closed"] >= least[row["device batch"]] for row in rows if row["device batch"] in least]
    if not any(_told_apart(row) for row in near) and all(closes):
        return "holds approximately"
    return "does not hold here"


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = Runs(results)
    M = _dialled(runs)
    rows = list(_rows(runs))
    by_device = {row["device batch"]: row for row in rows}
    quarter = by_device[M // 4]
    closed = ", ".join(f"{100 * by_device[device]['train loss, closed']:.0f}% at {device}" for device in _DEVICES[M])
    same = [device for device, row in by_device.items() if not _told_apart(row)]
    return Finding(
        verdict=_verdict(rows, M),
        measured=quarter["train loss, closed"],
        predicted=1.0,
        stderr=quarter["train loss, closed stderr"],
        summary=(
            f"On {runs.data} with M = {M}, the dial closes of plain BN's distance in train loss {closed}; in train loss it "
            f"differs from BN over {M} by less than two standard errors at device batch "
            f"{', '.join(map(str, same)) or 'none'}. Headline: the share closed at {M // 4}, over "
            f"{len(runs.seeds(M, M))} paired seeds. Plain BN at a device batch is run as ghost groups of as many images, the "
            "same operation."
        ),
        rows=rows,
    )


def _figure(results: Mapping[str, dict[str, Any]]) -> Figure:
    from bnlens.render import ROLES, new_figure

    runs = Runs(results)
    M = _dialled(runs)
    rows = list(_rows(runs))
    figure = new_figure(
        x="device batch", y=f"train loss less that of BN over {M} (nats per image)", xaxis_type="category"
    )
    for name, column, role in (("plain BN", "plain BN", "paper"), (f"dial at M = {M}", "dial", "measured")):
        some = [row for row in rows if f"train loss, {column}" in row]
        look = ROLES[role]
        figure.add_scatter(
            name=name,
            x=[str(row["device batch"]) for row in some],
            y=[row[f"train loss, {column}"] for row in some],
            error_y={"array": [row[f"train loss, {column} stderr"] for row in some]},
            mode="lines+markers",
            line={"color": look["color"], "dash": look["dash"]},
            marker={"color": look["color"], "symbol": look["symbol"]},
        )
    figure.update_xaxes(categoryorder="array", categoryarray=[str(row["device batch"]) for row in rows])
    figure.add_hline(y=0, line={"width": 1, "dash": "dot", "color": ROLES["paper"]["color"]})
    return figure


CLAIM = Claim(
    id="N2",
    title="The device batch, with the dial set",
    statement=(
        "With the statistics batch size set to M for the device batch at hand, it no longer matters how many images a device "
        "holds at once: a net trains as with BN over M."
    ),
    source="this library's window; asked for in many public threads on gradient accumulation and multi-GPU training",
    agreement=(
        "Train loss, paired by seed, against BN over M in batches of M. Holds: no device batch tried, down to M/4 (digits) or "
        "M/32 (CIFAR-10), differs by more than two standard errors. Holds approximately: that is so from M/2 up, and at M/4 "
        "the dial closes at least 75%, at M/8 at least 60% of the distance that plain BN has there."
    ),
    works=(
        "ioffe2015batch",
        "hoffer2017train",
        "ioffe2017renormalization",
        "wu2021rethinking",
        "he2015delving",
        "alpaydin1998optical",
        "krizhevsky2009learning",
    ),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=lambda scale, _data: {"seeds": _SEEDS[scale]},
)
