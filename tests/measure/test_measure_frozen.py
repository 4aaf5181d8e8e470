"""Frozen running statistics stay as they are, whichever tool comes and whatever mode the model is in."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import CLASSES, batches, data, mlp, plain, seeded
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import bnlens
from bnlens.errors import ModelError
from bnlens.measure import Report

X, Y = data(5, size=96)
LOADER = batches(3 * X + 2, Y, size=24)


def frozen(which: tuple[str, ...] = ("1", "4")) -> nn.Module:
    """A net whose running statistics are far from those of ``LOADER``."""
    model = bnlens.convert(seeded(mlp)())
    for x, _ in plain():
        model(x)
    for name in which:
        bnlens.freeze(model.get_submodule(name))
    return model


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name or "tracked" in name}


def report_on(model: nn.Module) -> Report:
    return bnlens.report(model, LOADER, F.cross_entropy, statistics_batch_size=4, rounds=1, shares=False)


def as_train_does(model: nn.Module) -> None:
    """Some tools set the attribute and call no ``train()``."""
    for module in model.modules():
        module.training = True
    model(LOADER[0][0])


def windows(model: nn.Module) -> None:
    bnlens.set_statistics_batch_size(model, math.inf)
    model.train()(LOADER[0][0])


def ghosts(model: nn.Module) -> None:
    bnlens.set_statistics_batch_size(model, 4)
    model.train()(LOADER[0][0])


def convert_again(model: nn.Module) -> None:
    with pytest.raises(ModelError, match="all BN layers of Sequential are bnlens layers already"):
        bnlens.convert(model)


def revert(model: nn.Module) -> None:
    with pytest.raises(ModelError, match="is frozen, which train"):
        bnlens.revert(model)


TOOLS: dict[str, Callable[[nn.Module], Any]] = {
    "recalibrate": lambda model: bnlens.recalibrate(model, LOADER),
    "report": report_on,
    "update_bn": lambda model: update_bn([x for x, _ in LOADER], model),
    "reset_running_stats": lambda model: [m.reset_running_stats() for m in model if isinstance(m, nn.BatchNorm1d)],
    "reset_parameters": lambda model: [m.reset_parameters() for m in model if isinstance(m, nn.BatchNorm1d)],
    "train": lambda model: model.train()(LOADER[0][0]),
    "the attribute": as_train_does,
    "a window": windows,
    "ghost groups": ghosts,
    "convert": convert_again,
    "revert": revert,
}


@pytest.mark.parametrize("which", [("1", "4"), ("1",), ("4",)])
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("tool", TOOLS)
def test_no_tool_moves_them(tool: str, mode: bool, which: tuple[str, ...]) -> None:
    model = frozen(which).train(mode)
    kept = buffers(model)
    if which == ("1", "4") and tool in ("recalibrate", "report"):
        with pytest.raises(ModelError, match=r"bnlens\.unfreeze"):
            TOOLS[tool](model)
    else:
        TOOLS[tool](model)
    moved = {name.partition(".")[0] for name, value in buffers(model).items() if not torch.equal(value, kept[name])}
    assert not moved & set(which)
    expected = {"1", "4"} - set(which)
    assert moved == (set() if tool in ("report", "convert", "revert") else expected)


@pytest.mark.parametrize("mode", [True, False])
def test_the_report_leaves_them_out_and_says_so(mode: bool) -> None:
    report = report_on(frozen(("1",)).train(mode))
    assert [layer.name for layer in report.layers] == ["4"]
    (note,) = (note for note in report.notes if note.kind == "frozen")
    assert note.layers == ("1",)
    assert note.text.startswith("is frozen (bnlens.freeze): it normalises")


def test_both_ways_to_freeze_have_one_note() -> None:
    model = nn.Sequential(
        frozen(("1", "4")), nn.Linear(CLASSES, 5), nn.BatchNorm1d(5), nn.Linear(5, 5), nn.BatchNorm1d(5)
    ).train()
    model[2].eval()
    (note,) = (note for note in report_on(model).notes if note.kind == "frozen")
    assert note.layers == ("0.1", "0.4", "2")
    assert note.text.startswith("are frozen (bnlens.freeze or eval mode in a model in train mode): they normalise")


def test_they_are_what_the_others_are_recalibrated_behind() -> None:
    """In float64, by hand: the second layer's statistics with the first one normalising by those that it keeps."""
    model = frozen(("1",)).double().eval()
    x = torch.cat([x for x, _ in LOADER]).double()
    hidden = model[:4](x)
    bnlens.recalibrate(model, [x])
    torch.testing.assert_close(model[4].running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[4].running_var, hidden.var(0), rtol=1e-12, atol=1e-12)


def test_a_state_that_is_loaded_is_the_users_word() -> None:
    model, other = frozen(), seeded(mlp)()
    bnlens.recalibrate(other, LOADER)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model[1].running_mean, other[1].running_mean)
    assert model[1].frozen


def test_a_copy_is_frozen_and_unfreezing_ends_it() -> None:
    model = copy.deepcopy(frozen()).eval()
    kept = buffers(model)
    bnlens.unfreeze(model)
    bnlens.recalibrate(model, LOADER)
    assert all(not torch.equal(value, kept[name]) for name, value in buffers(model).items() if "running" in name)


@pytest.mark.parametrize("call", [report_on, lambda model: bnlens.recalibrate(model, LOADER)])
def test_frozen_statistics_that_make_nan_are_named(call: Callable[[nn.Module], Any]) -> None:
    model = frozen(("1",)).eval()
    model[1].running_var[:2] = torch.nan
    with pytest.raises(
        ModelError, match=r"layer '1' is frozen with running statistics that are NaN.* in 2 of 6 channels"
    ):
        call(model)
