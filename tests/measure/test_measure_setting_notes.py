"""Settings of BN layers that make evaluation surprise its user: one note each, and none on ordinary nets."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import batches, data, mlp, plain, seeded, trained
from torch import nn

import bnlens
from bnlens.measure import Note, Report

KINDS = {
    "train mode", "not finite", "momentum", "fixed statistics", "epsilon", "no running statistics", "initial statistics",
}  # fmt: skip


def report_on(model: nn.Module, loader: Any = None) -> Report:
    loader = plain() if loader is None else loader
    return bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=4, rounds=1, shares=False)


def notes_on(model: nn.Module, loader: Any = None) -> dict[str, Note]:
    found = {note.kind: note for note in report_on(model, loader).notes if note.kind in KINDS}
    assert len(found) == len([note for note in report_on(model, loader).notes if note.kind in KINDS])
    return found


def net(**options: Any) -> nn.Module:
    model = seeded(lambda: mlp(**options))()
    if model[1].running_mean is not None:
        bnlens.recalibrate(model, plain())
    return model


def evaluated(train: tuple[int, ...]) -> nn.Module:
    model = net().eval()
    for index in train:
        model[index].train()
    return model


def with_buffer(name: str, value: float, channels: int) -> nn.Module:
    model = net()
    getattr(model[4], name)[:channels] = value
    return model


def untracked_later() -> nn.Module:
    model = net()
    model[1].track_running_stats = False
    return model


def one_without() -> nn.Module:
    model = net()
    model[4].running_mean = model[4].running_var = None
    return model


def one_of_each() -> nn.Module:
    model = net()
    model[1].momentum, model[4].momentum = 0.99, 0.9
    return model


CASES: dict[str, tuple[Callable[[], nn.Module], str, tuple[str, ...], str]] = {
    "Keras's momentum": (
        lambda: net(momentum=0.99),
        "momentum",
        ("1", "4"),
        "have momentum 0.99: .* to 99% .* is 0.01 here",
    ),
    "two momenta": (
        one_of_each,
        "momentum",
        ("1", "4"),
        "have momentum 0.9 and 0.99: .* whose 0.9 and 0.99 is 0.1 and 0.01",
    ),
    "momentum zero": (lambda: net(momentum=0.0), "fixed statistics", ("1", "4"), r"as they are \(momentum=0\)"),
    "no tracking later": (untracked_later, "fixed statistics", ("1",), r"as they are \(track_running_stats=False\)"),
    "no tracking in one": (one_without, "no running statistics", ("4",), "keeps no running stat"),
    "eps for momentum": (lambda: net(eps=0.8), "epsilon", ("1", "4"), "have eps 0.8, where 1e-5 is usual"),
    "one layer in train mode": (
        lambda: evaluated((4,)),
        "train mode",
        ("4",),
        "is in train mode inside a model in eval",
    ),
    "NaN": (
        lambda: with_buffer("running_var", math.nan, 1),
        "not finite",
        ("4",),
        r"in 1 of 4 channels: .* \(bnlens.recal",
    ),
    "infinity": (lambda: with_buffer("running_mean", math.inf, 3), "not finite", ("4",), "in 3 of 4 channels"),
    "negative": (lambda: with_buffer("running_var", -1.0, 2), "not finite", ("4",), "a negative variance in 2 of 4"),
    "new": (seeded(mlp), "initial statistics", ("1", "4"), "have the running statistics of new layers"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_setting_has_its_note_and_no_other(name: str) -> None:
    make, kind, layers, words = CASES[name]
    loader = [(3 * x + 1, y) for x, y in plain()] if name == "new" else None
    found = notes_on(make(), loader)
    assert set(found) == {kind}
    assert found[kind].layers == layers
    assert re.search(words, found[kind].text)


ORDINARY: dict[str, Callable[[], nn.Module]] = {
    "recalibrated": net,
    "in eval mode": lambda: net().eval(),
    "momentum 0.01": lambda: net(momentum=0.01),
    "cumulative average": lambda: net(momentum=None),
    "no running statistics": lambda: net(track_running_stats=False),
    "eps of Keras": lambda: net(eps=1e-3),
    "converted": lambda: bnlens.convert(net(), statistics_batch_size=math.inf),
    "frozen, whatever its momentum": lambda: nn.Sequential(
        _frozen(), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
    ),
}


def _frozen() -> nn.Module:
    model = bnlens.convert(net(momentum=0.99, eps=0.5))
    bnlens.freeze(model)
    return model


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_net_has_none(name: str) -> None:
    model = ORDINARY[name]()
    if name != "no running statistics":
        bnlens.recalibrate(model, plain())
    assert notes_on(model) == {}


def test_a_trained_net_has_none() -> None:
    model, loader = trained(mlp, 5)
    assert notes_on(model, loader) == {}


def test_channels_of_several_layers_are_added_up_and_the_worst_is_named() -> None:
    model = net()
    model[1].running_mean[:1] = math.nan
    model[4].running_var[:3] = math.inf
    note = notes_on(model)["not finite"]
    assert note.layers == ("1", "4")
    assert "in 4 of 10 channels, the most in '4', 3 of 4" in note.text


def test_statistics_that_are_not_finite_do_not_stop_the_report() -> None:
    """The gap is that of the same net with sound statistics; recalibration repairs them."""
    model, sound = with_buffer("running_var", math.nan, 2), net()
    report, expected = report_on(model), report_on(sound)
    assert report.network.gaps.measured[4].value == pytest.approx(expected.network.gaps.measured[4].value, abs=1e-9)
    assert report.network.running_discrepancy is None
    assert report["4"].stale_mean is None
    assert report["1"].stale_mean is not None
    bnlens.recalibrate(model, plain())
    assert torch.equal(model[4].running_var, sound[4].running_var)


def test_a_copied_target_network_whose_buffers_were_left_behind() -> None:
    x, y = data(5, size=96)
    notes = report_on(seeded(mlp)(), batches(4 * x, y, size=48)).notes
    assert {"stale statistics", "initial statistics"} <= {note.kind for note in notes}
