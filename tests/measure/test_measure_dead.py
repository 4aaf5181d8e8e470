"""Dead channels pruned and their constants folded into the next layer: the loss stays what it was."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import CLASSES, mlp, plain, seeded
from torch import Tensor, nn

import bnlens
from bnlens.errors import UsageError
from bnlens.measure import Report

X = torch.randn(96, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randint(CLASSES, (96,), generator=torch.Generator().manual_seed(1))
LOADER = list(zip(X.split(32), Y.split(32), strict=True))


def report_on(model: nn.Module, loader: Any = LOADER) -> Report:
    return bnlens.report(model, loader, F.cross_entropy, statistics_batch_size=4, rounds=1, shares=False)


def net(padding: int, act: nn.Module) -> nn.Sequential:
    """Filters 1 and 4 are zero, gamma of 6 is; channel 6 of the second layer is dead as well."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), act,
        nn.Conv2d(8, 7, 3, padding=padding), nn.BatchNorm2d(7), act,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, CLASSES),
    ).double()  # fmt: skip
    with torch.no_grad():
        for norm in (model[1], model[4]):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
        model[0].weight[[1, 4]] = 0.0
        model[1].weight[6] = 0.0
        model[4].weight[6] = 0.0
        model[1].bias[6], model[4].bias[6] = 1.0, 0.7
    return model


def loss(model: nn.Module) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model.eval()(X), Y))


def constants(report: Report, name: str, act: nn.Module) -> tuple[list[int], Tensor]:
    dead = bnlens.dead_channels(report)[name]
    return list(dead), act(torch.tensor(list(dead.values()), dtype=torch.float64))


def alive(channels: int, dead: list[int]) -> list[int]:
    return [channel for channel in range(channels) if channel not in dead]


@torch.no_grad()
def prune(model: nn.Sequential, conv: int, dead: list[int]) -> nn.Sequential:
    """Take channels out of a convolution, of the BN layer behind it and of what comes next."""
    model = copy.deepcopy(model)
    left, norm = alive(model[conv].out_channels, dead), model[conv + 1]
    after = next(layer for layer in model[conv + 2 :] if hasattr(layer, "weight"))
    model[conv].weight, model[conv].bias = nn.Parameter(model[conv].weight[left]), nn.Parameter(model[conv].bias[left])
    norm.weight, norm.bias = nn.Parameter(norm.weight[left]), nn.Parameter(norm.bias[left])
    norm.running_mean, norm.running_var = norm.running_mean[left], norm.running_var[left]
    after.weight = nn.Parameter(after.weight[:, left])
    return model


class Plus(nn.Module):
    """Adds a map to the output of a convolution."""

    def __init__(self, conv: nn.Module, added: Tensor) -> None:
        super().__init__()
        self.conv, self.added = conv, added

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.added


@pytest.mark.parametrize("recalibrated", [True, False])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.Sigmoid(), nn.SiLU()])
def test_folded_constants_leave_the_loss_as_it_was(act: nn.Module, recalibrated: bool) -> None:
    model = net(0, act)
    if recalibrated:
        bnlens.recalibrate(model, LOADER)
    report = report_on(model)
    assert {name: list(dead) for name, dead in bnlens.dead_channels(report).items()} == {"1": [1, 4, 6], "4": [6]}
    before = loss(model)
    for name in ("4", "1"):
        dead, values = constants(report, name, act)
        after = next(layer for layer in model[int(name) + 1 :] if hasattr(layer, "weight"))
        added = after.weight[:, dead].flatten(2).sum(2) if after.weight.ndim > 2 else after.weight[:, dead]
        pruned = prune(model, int(name) - 1, dead)
        assert abs(loss(pruned) - before) > 1e-4  # without folding
        with torch.no_grad():
            next(layer for layer in pruned[int(name) + 1 :] if hasattr(layer, "weight")).bias += added @ values
        assert loss(pruned) == pytest.approx(before, rel=1e-9)
        model = pruned


def test_constants_are_beta_after_recalibration() -> None:
    model = net(0, nn.ReLU())
    bnlens.recalibrate(model, LOADER)
    for name, dead in bnlens.dead_channels(report_on(model)).items():
        for channel, constant in dead.items():
            assert constant == pytest.approx(model[int(name)].bias[channel].item(), abs=1e-9)


def test_beside_zero_padding_the_fold_is_a_map() -> None:
    act = nn.ReLU()
    model = net(1, act)
    bnlens.recalibrate(model, LOADER)
    before = loss(model)
    dead, values = constants(report_on(model), "1", act)
    conv, pruned = model[3], prune(model, 0, dead)
    with torch.no_grad():
        by_bias, by_map = copy.deepcopy(pruned), copy.deepcopy(pruned)
        by_bias[3].bias += conv.weight[:, dead].sum((2, 3)) @ values
        maps = values.view(1, -1, 1, 1).expand(1, -1, *X.shape[2:])
        by_map[3] = Plus(by_map[3], F.conv2d(maps, conv.weight[:, dead], padding=1))
    assert abs(loss(by_bias) - before) > 1e-4
    assert loss(by_map) == pytest.approx(before, rel=1e-9)


def test_the_note_tells_to_fold() -> None:
    model = net(0, nn.ReLU())
    bnlens.recalibrate(model, LOADER)
    (note,) = (note for note in report_on(model).notes if note.kind == "dead channels")
    assert note.layers == ("1", "4")
    assert "4 of 15 channels" in note.text
    assert "fold their constants (bnlens.dead_channels)" in note.text
    assert "zero padding" in note.text
    assert "changes nothing" not in note.text


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}])
def test_layers_without_parameters_or_running_statistics(options: dict[str, bool]) -> None:
    model = seeded(lambda: mlp(**options))()
    with torch.no_grad():
        model[0].weight[2] = 0.0
    expected = 0.0 if model[1].bias is None else model[1].bias[2].item()
    if model[1].running_mean is not None:
        bnlens.recalibrate(model, plain())
    dead = bnlens.dead_channels(report_on(model, plain()))
    assert list(dead["1"]) == [2]
    assert dead["1"][2] == pytest.approx(expected, abs=1e-3)


def test_they_are_in_the_file_of_a_report_and_not_in_those_of_before() -> None:
    report = report_on(net(0, nn.ReLU()))
    assert bnlens.dead_channels(Report.loads(report.to_json())) == bnlens.dead_channels(report) != {}
    layers = tuple(dataclasses.replace(layer, dead={}) for layer in report.layers)
    with pytest.raises(UsageError, match="no constants of the 3 dead channels of layer '1'; make it anew"):
        bnlens.dead_channels(dataclasses.replace(report, layers=layers))
    assert bnlens.dead_channels(report_on(seeded(mlp)(), plain())) == {}
