"""N2: with the statistics batch size set, the device batch no longer matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._paired import Estimate, Runs, check_full_scale, estimate, share_of_distance
from bnlens.claims._training import SHARED, job_of_run, recipe_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CLAIM"]

_BATCH = 256
_DIGITS, _CIFAR = 16, 64  # the statistics batch size that is set
_SEEDS: Mapping[Scale, int] = {"quick": 4, "full": 6}
_DEVICES = {_DIGITS: (8, 4), _CIFAR: (32, 16, 8, 4, 2)}
_CLOSED = {4: 0.75, 8: 0.6}  # least share closed at a device batch of M over this
_WINDOWS = 4  # windows are run down to a device batch of M over this, below which the layers warn
_LOSSES = {"train loss": "train_loss", "test loss": "test_loss"}


def _jobs(setup: Setup) -> Sequence[Job]:
    from bnlens.nn import matching_window

    check_full_scale("N2", setup.scale, setup.data)
    recipe = recipe_of(setup.data)
    M = _DIGITS if setup.data is None else _CIFAR
    kinds: list[tuple[int, int, str | None]] = [(M, M, None), (M, _BATCH, None)]
    for device in _DEVICES[M]:
        kinds += [(device, _BATCH, None), (M, device, SHARED)]  # BN over this many samples is run as ghost groups
        if _WINDOWS * device >= M:
            kinds.append((matching_window(M, device), device, None))
    return [
        job_of_run(recipe, size, device, seed, way)
        for size, device, way in kinds
        for seed in range(setup.parameters["seeds"])
    ]


def _dialled(runs: Runs) -> int:
    """The statistics batch size that was set."""
    return _CIFAR if runs.seeds(_CIFAR, _CIFAR) else _DIGITS


def _rows(runs: Runs) -> Iterator[dict[str, Any]]:
    """One row per device batch: distance of plain BN and of the two ways to keep M from BN over M, and the shares closed."""
    from bnlens.nn import matching_window

    M = _dialled(runs)
    for device in (_BATCH, *_DEVICES[M]):
        window = matching_window(M, device)
        row: dict[str, Any] = {"device batch": device, "M": M}
        if device < M and runs.seeds(window, device):
            row["window"] = window
        for name, what in _LOSSES.items():
            target = runs.values(what, M, M)
            # a device batch above M has its statistics in ghost groups
            ways = {"shared": runs.values(what, M, device, SHARED if device < M else None) - target}
            if "window" in row:
                ways["windows"] = runs.values(what, window, device) - target
            if device < M:
                plain = runs.values(what, device, _BATCH) - target
                row |= estimate(plain).columns(f"{name}, plain BN")
            for way, distance in ways.items():
                row |= estimate(distance).columns(f"{name}, {way}")
                if device < M:
                    left = share_of_distance(distance, plain)
                    row |= Estimate(1 - left.value, left.stderr).columns(f"{name}, {way}, closed")
        yield row


def _told_apart(row: Mapping[str, Any]) -> bool:
    """Whether train loss with shared statistics differs from that of BN over M by more than two standard errors."""
    return bool(abs(row["train loss, shared"]) > 2 * row["train loss, shared stderr"])


def _verdict(by_device: Mapping[int, Mapping[str, Any]], M: int) -> Verdict:
    if not any(map(_told_apart, by_device.values())):
        return "holds"
    near = [row for device, row in by_device.items() if 2 * device >= M]
    least = {M // part: share for part, share in _CLOSED.items() if M // part in by_device}
    closes = [by_device[device]["train loss, shared, closed"] >= share for device, share in least.items()]
    if not any(map(_told_apart, near)) and all(closes):
        return "holds approximately"
    return "does not hold here"


def _judge(results: Mapping[str, dict[str, Any]]) -> Finding:
    runs = Runs(results)
    M = _dialled(runs)
    rows = list(_rows(runs))
    by_device = {row["device batch"]: row for row in rows}
    quarter = by_device[M // 4]

    def closed(way: str) -> str:
        column = f"train loss, {way}, closed"
        shares = [f"{100 * row[column]:.0f}% at {device}" for device, row in by_device.items() if column in row]
        return ", ".join(shares)

    same = [device for device, row in by_device.items() if not _told_apart(row)]
    return Finding(
        verdict=_verdict(by_device, M),
        measured=quarter["train loss, shared, closed"],
        predicted=1.0,
        stderr=quarter["train loss, shared, closed stderr"],
        summary=(
            f"On {runs.data} with M = {M}, of plain BN's distance in train loss shared statistics close {closed('shared')}; "
            f"windows {closed('windows')}. With shared statistics train loss differs from that of BN over {M} by less than "
            f"two standard errors at device batch {', '.join(map(str, same)) or 'none'}. Headline: the share they close at "
            f"{M // 4}, over {len(runs.seeds(M, M))} paired seeds. Plain BN at a device batch is run as ghost groups of as "
            f"many images, the same operation; so is, at {_BATCH}, BN over {M} itself."
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
    for name, column, role in (
        ("plain BN", "plain BN", "paper"),
        (f"windows, M = {M}", "windows", "predicted"),
        (f"shared statistics, M = {M}", "shared", "measured"),
    ):
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
        "With the statistics batch size set to M, and statistics shared by the micro-batches of M images, it no longer "
        "matters how many images a device holds at once: a net trains as with BN over M."
    ),
    source=(
        "this library's shared statistics and windows; asked for in many public threads on gradient accumulation and "
        "multi-GPU training"
    ),
    agreement=(
        "Train loss with shared statistics, paired by seed, against BN over M in batches of M. Holds: no device batch tried, "
        "down to M/4 (digits) or M/32 (CIFAR-10), differs by more than two standard errors. Holds approximately: that is so "
        "from M/2 up, and at M/4 they close at least 75%, at M/8 at least 60% of the distance that plain BN has there."
    ),
    works=(
        "ioffe2015batch",
        "hoffer2017train",
        "ioffe2017renormalization",
        "yan2020towards",
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
