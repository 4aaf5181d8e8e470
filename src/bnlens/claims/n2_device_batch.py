"""N2: with the statistics batch size set, the device batch no longer matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnlens.claims import _dial
from bnlens.claims._claim import Claim, Figure, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._estimate import Estimate, estimate, finding, share_of_distance
from bnlens.claims._figures import add_estimates
from bnlens.claims._losses import LOSSES
from bnlens.claims._results import Results, TrainingRuns

_DIGITS, _CIFAR = 16, 64  # the statistics batch size that is set
_SEEDS: Mapping[Scale, int] = {"quick": 3, "full": 6}
_DIGIT_STEPS = 24  # a device batch of 4 takes 64 passes for each
_DEVICES = {_DIGITS: (8, 4), _CIFAR: (32, 16, 8, 4, 2)}
_CLOSED = {4: 0.75, 8: 0.6}  # least share closed at a device batch of M over this
# By M and device batch, down to a quarter of M, below which the layers warn: `bnlens.nn.matching_window`, whose PyTorch a plan
# need not wait for.
_WINDOWS = {(16, 8): 24, (16, 4): 30, (64, 32): 96, (64, 16): 122}


def _jobs(setup: Setup) -> Sequence[Job]:
    M = _DIGITS if setup.data is None else _CIFAR
    kinds: list[dict[str, Any]] = [{"M": M, "device_batch_size": M}, {"M": M}]
    for device in _DEVICES[M]:
        # BN over this many samples is run as ghost groups
        kinds += [{"M": device}, {"M": M, "device_batch_size": device, "share_statistics": True}]
        if (M, device) in _WINDOWS:
            kinds.append({"M": _WINDOWS[M, device], "device_batch_size": device})
    return _dial.jobs_of("N2", setup, kinds, steps=_DIGIT_STEPS)


class _Device(NamedTuple):
    """A device batch: by way to train and by loss, the distance from BN over M, and the share closed of plain BN's.

    The ways are ``"plain"``, below M, ``"shared"`` and, where they are run, ``"windows"`` of ``window`` images.
    """

    batch: int
    M: int
    window: int | None
    distance: Mapping[tuple[str, str], Estimate]
    closed: Mapping[tuple[str, str], Estimate]

    @property
    def told_apart(self) -> bool:
        """Whether train loss with shared statistics differs from that of BN over M by more than two standard errors."""
        shared = self.distance["shared", "train_loss"]
        return abs(shared.value) > 2 * shared.stderr

    @property
    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"device batch": self.batch, "M": self.M}
        if self.window is not None:
            row["window"] = self.window
        for loss, name in LOSSES.items():
            for (way, what), distance in self.distance.items():
                if what == loss:
                    row |= distance.columns(f"{name}, {'plain BN' if way == 'plain' else way}")
                    if (way, what) in self.closed:
                        row |= self.closed[way, what].columns(f"{name}, {way}, closed")
        return row


def _devices(runs: TrainingRuns) -> list[_Device]:
    """Return the device batches, that of the optimizer first."""
    M = _CIFAR if runs.seeds(M=_CIFAR, device_batch_size=_CIFAR) else _DIGITS
    return [_device(runs, M, batch) for batch in (_dial.BATCH, *_DEVICES[M])]


def _device(runs: TrainingRuns, M: int, batch: int) -> _Device:
    ways: dict[str, dict[str, Any]] = {"shared": {"M": M, "device_batch_size": batch}}
    window = None
    if batch < M:  # else its statistics are in ghost groups
        shared = {**ways["shared"], "share_statistics": True}
        ways = {"plain": {"M": batch, "device_batch_size": _dial.BATCH}, "shared": shared}
        kind = {"M": _WINDOWS.get((M, batch)), "device_batch_size": batch}
        if runs.seeds(**kind):
            window, ways["windows"] = kind["M"], kind
    distance, closed = {}, {}
    for loss in LOSSES:
        target = runs.values(loss, M=M, device_batch_size=M)
        values = {way: runs.values(loss, **kind) - target for way, kind in ways.items()}
        for way, value in values.items():
            distance[way, loss] = estimate(value)
            if batch < M and way != "plain":
                left = share_of_distance(value, values["plain"])
                closed[way, loss] = Estimate(1 - left.value, left.stderr)
    return _Device(batch, M, window, distance, closed)


def _verdict(devices: Mapping[int, _Device], M: int) -> Verdict:
    if not any(device.told_apart for device in devices.values()):
        return "holds"
    near = [device for batch, device in devices.items() if 2 * batch >= M]
    least = {M // part: share for part, share in _CLOSED.items() if M // part in devices}
    closes = [devices[batch].closed["shared", "train_loss"].value >= share for batch, share in least.items()]
    if not any(device.told_apart for device in near) and all(closes):
        return "holds approximately"
    return "does not hold here"


def _judge(results: Results) -> Finding:
    runs = TrainingRuns(results)
    devices = {device.batch: device for device in _devices(runs)}
    M = next(iter(devices.values())).M
    headline = devices[M // 4].closed["shared", "train_loss"]

    def closed(way: str) -> str:
        found = {batch: device.closed.get((way, "train_loss")) for batch, device in devices.items()}
        return ", ".join(f"{100 * share.value:.0f}% at {batch}" for batch, share in found.items() if share)

    same = [batch for batch, device in devices.items() if not device.told_apart]
    summary = (
        f"On {runs.data} with $M = {M}$, of plain BN's distance in train loss shared statistics close {closed('shared')}; "
        f"windows {closed('windows')}. With shared statistics train loss differs from that of BN over {M} by less than "
        f"two standard errors at device batch {', '.join(map(str, same)) or 'none'}. Headline: the share they close at "
        f"{M // 4}, over {runs.seeds(M=M, device_batch_size=M)} paired seeds. Plain BN at a device batch is run as ghost "
        f"groups of as many images, the same operation; so is, at {_dial.BATCH}, BN over {M} itself."
    )
    return finding(_verdict(devices, M), headline, 1.0, summary, [device.row for device in devices.values()])


def _figure(results: Results) -> Figure:
    from bnlens.render import ROLES, new_figure

    devices = _devices(TrainingRuns(results))
    M = devices[0].M
    figure = new_figure(
        x="device batch", y=f"train loss less that of BN over {M} (nats per image)", xaxis_type="category"
    )
    for name, way, role in (
        ("plain BN", "plain", "paper"),
        (f"windows, M = {M}", "windows", "predicted"),
        (f"shared statistics, M = {M}", "shared", "measured"),
    ):
        found = {str(device.batch): device.distance.get((way, "train_loss")) for device in devices}
        shown = {batch: distance for batch, distance in found.items() if distance}
        look = ROLES[role]
        line = {name: look[name] for name in ("color", "dash")}
        marker = {name: look[name] for name in ("color", "symbol")}
        add_estimates(figure, name, shown, shown.values(), mode="lines+markers", line=line, marker=marker)
    figure.update_xaxes(categoryorder="array", categoryarray=[str(device.batch) for device in devices])
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
    quantity="share of plain BN's distance in train loss that shared statistics close at a device batch of M/4",
    works=("ioffe2015batch", "hoffer2017train", "ioffe2017renormalization", "yan2020towards", *_dial.WORKS),
    core=True,
    jobs=_jobs,
    judge=_judge,
    figure=_figure,
    parameters=lambda scale, _data: {"seeds": _SEEDS[scale]},
)
