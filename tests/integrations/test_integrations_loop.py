"""The helpers for a loop of one's own, with and without Accelerate."""

from __future__ import annotations

import copy
import math
import random
import subprocess
import sys
from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
from page import BLOCKS, executed
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training import LOSS, assert_population, assert_same, images, loader, net, population

import bnlens
from bnlens.errors import DataError, ModelError, UsageError
from bnlens.integrations import GapMonitor, SetStatisticsBatchSize


def train(model: nn.Module, steps: range, dial: Any = None, optimizer: Any = None) -> Any:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = images().tensors
    model.train()
    for step in steps:
        if dial is not None:
            dial.step(step)
        rows = torch.arange(8 * step, 8 * step + 8) % len(x)
        optimizer.zero_grad()
        LOSS(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return optimizer


def test_the_gap_is_that_of_its_images() -> None:
    model = net()
    train(model, range(40))
    monitor = GapMonitor(loader(), LOSS, statistics_batch_size=2, samples=64)
    found = monitor.measure(model)
    plain = bnlens.revert(copy.deepcopy(model)).double()
    x, y = (tensor.double() if tensor.is_floating_point() else tensor for tensor in images().tensors)
    with torch.no_grad():
        running = LOSS(plain.eval()(x), y)
        whole = LOSS(plain.train()(x), y)  # all images at once: population statistics
        gaps = []
        generator = torch.Generator().manual_seed(1)
        for _ in range(60):
            order = torch.randperm(64, generator=generator)
            gaps.append(torch.stack([LOSS(plain(x[rows]), y[rows]) for rows in order.split(2)]).mean() - whole)
    assert found["bnlens/running_discrepancy"] == pytest.approx(float(running - whole), rel=1e-3, abs=1e-5)
    mean, stderr = float(torch.stack(gaps).mean()), float(torch.stack(gaps).std()) / 60**0.5
    assert abs(found["bnlens/gap_2"] - mean) < 4 * (found["bnlens/gap_2_stderr"] + stderr)
    assert found["bnlens/gap_2"] > 0


def test_a_mapping_that_is_no_dict() -> None:
    model = net()
    as_dicts = [UserDict(x=x, labels=y) for x, y in loader()]
    found, expected = (
        GapMonitor(given, LOSS, statistics_batch_size=2).measure(model) for given in (as_dicts, loader())
    )
    assert found == expected


def test_a_precision_takes_the_shuffles_that_it_needs() -> None:
    model = net()
    train(model, range(40))
    once, often = (
        GapMonitor(loader(), LOSS, statistics_batch_size=2, samples=64, **options).measure(model)
        for options in ({}, {"precision": 0.05})
    )
    assert often["bnlens/gap_2_stderr"] < 0.05 * often["bnlens/gap_2"] < once["bnlens/gap_2_stderr"]


def test_measuring_leaves_everything_as_it_was() -> None:
    order = torch.Generator().manual_seed(3)
    held = loader(shuffle=True, generator=order)
    model = net(16)
    train(model, range(3))
    model[4].eval()
    state = copy.deepcopy(model.state_dict())
    windows = bnlens.window_state(model)
    modes = [module.training for module in model.modules()]
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    generators = torch.get_rng_state(), random.getstate(), str(np.random.get_state()), order.get_state()  # noqa: NPY002
    monitor = GapMonitor(held, LOSS, statistics_batch_size=8, samples=32)
    assert monitor.measure(model)
    assert_same(model.state_dict(), state)
    assert torch.equal(bnlens.window_state(model)["1"]["window"], windows["1"]["window"])
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state()), order.get_state()  # noqa: NPY002
    assert torch.equal(generators[0], after[0])
    assert torch.equal(generators[3], after[3])
    assert generators[1:3] == after[1:3]


def test_the_images_held_depend_on_the_seed_alone() -> None:
    model = net()
    found = []
    for seed in (0, 0, 1):
        torch.rand(3)  # another state of the generator
        monitor = GapMonitor(loader(shuffle=True), LOSS, statistics_batch_size=4, samples=16, seed=seed)
        found.append(monitor.measure(model))
    assert found[0] == found[1] != found[2]


def test_measurements_are_at_multiples() -> None:
    monitor = GapMonitor(loader(), LOSS, statistics_batch_size=4, samples=16, every_n_steps=5)
    model = net()
    assert [step for step in range(1, 12) if monitor(model, step)] == [5, 10]


def test_a_diverged_network_is_a_warning_and_one_without_layers_an_error() -> None:
    monitor = GapMonitor(loader(), LOSS, statistics_batch_size=4, samples=16)
    model = net()
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    with pytest.warns(UserWarning, match="the gap is not measured"):
        assert monitor.measure(model) == {}
    with pytest.raises(ModelError, match="no BN layer"):
        monitor.measure(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"statistics_batch_size": 1}, UsageError, "at least 2"),
        ({"every_n_steps": 0}, UsageError, "every_n_steps is 0"),
        ({"samples": True}, UsageError, "samples is True"),
        ({"loss_fn": None}, UsageError, "loss_fn is None"),
        ({"statistics_batch_size": 64}, DataError, "samples=128"),
        ({"loader": []}, DataError, "empty"),
        ({"loader": 3}, DataError, "of type int"),
        ({"loader": [["no", "tensors"]]}, DataError, "a batch of the loader holds no tensor"),
    ],
)
def test_a_monitor_that_cannot_work_says_so_at_once(options: dict[str, Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        GapMonitor(**{"loader": loader(), "loss_fn": LOSS, **options})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (16, [16] * 6),
        ({2: 4, 4: None}, [8, 8, 4, 4, None, None]),
        ({0: math.inf, 5: 3}, [math.inf] * 5 + [3]),
        (lambda step: 2 + step // 3, [2, 2, 2, 3, 3, 3]),
    ],
)
def test_schedules(schedule: Any, expected: list[float | None]) -> None:
    model = net(8)
    dial = SetStatisticsBatchSize(model, schedule)
    found = []
    for step in range(6):
        dial.step(step)
        found.append(model[4].statistics_batch_size)
    assert found == expected


@pytest.mark.parametrize("schedule", [1, "16", {}, {-1: 4}, {0.5: 4}, {0: 1}, {True: 4}, math.nan])
def test_schedules_that_are_none(schedule: Any) -> None:
    with pytest.raises(UsageError):
        SetStatisticsBatchSize(net(), schedule)


def test_a_model_that_is_not_converted_is_refused() -> None:
    with pytest.raises(UsageError, match=r"bnlens\.convert"):
        SetStatisticsBatchSize(bnlens.revert(net()), 16)


@pytest.mark.parametrize("cut", [5, 6, 7])
def test_a_run_that_goes_on_is_the_run_that_was_not_cut(cut: int) -> None:
    schedule = {0: 32, 6: 20}
    whole = net()
    train(whole, range(12), SetStatisticsBatchSize(whole, schedule))
    first = net()
    dial = SetStatisticsBatchSize(first, schedule)
    optimizer = train(first, range(cut), dial)
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict(), dial.state_dict()))
    second = net(seed=1)
    second.load_state_dict(saved[0])
    again = SetStatisticsBatchSize(second, schedule)
    again.load_state_dict(saved[2])
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(saved[1])
    train(second, range(cut, 12), again, optimizer)
    assert_same(second.state_dict(), whole.state_dict())


def test_averages_follow() -> None:
    model = net()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    dial = SetStatisticsBatchSize(model, {0: 16}, averaged=[average])
    train(model, range(2), dial)
    average.update_parameters(model)
    train(model, range(2, 4))
    average.update_parameters(model)
    assert torch.equal(average.module[4].running_var, model[4].running_var)
    bnlens.recalibrate(average, loader())
    assert_population(average.module.state_dict(), population(average.module))


def test_accelerate_saves_and_loads_it(tmp_path: Any) -> None:
    from accelerate import Accelerator

    model = net()
    dial = SetStatisticsBatchSize(model, 32)
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(model)
    accelerator.register_for_checkpointing(dial)
    train(prepared, range(3), dial)
    accelerator.save_state(str(tmp_path / "state"))
    kept = copy.deepcopy(bnlens.window_state(model))
    train(prepared, range(3, 5), dial)
    accelerator.load_state(str(tmp_path / "state"))
    for path, state in bnlens.window_state(model).items():
        assert torch.equal(state["window"], kept[path]["window"])


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(BLOCKS) == {"A loop of your own", "Lightning", "transformers"}
    names = executed("A loop of your own")
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == ["8"] * 3 + ["16"] * 3
    assert names["model"][1].statistics_batch_size == 64


def test_no_trainer_is_imported() -> None:
    trainers = {"lightning", "pytorch_lightning", "transformers"}
    code = f"import sys, bnlens.integrations; sys.exit(bool({trainers} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_a_trainer_that_is_not_installed(name: str) -> None:
    code = (
        "import sys\n"
        "for name in ('lightning', 'pytorch_lightning', 'transformers'): sys.modules[name] = None\n"
        "from bnlens.errors import UsageError\n"
        f"try: import bnlens.integrations.{name}\n"
        f"except UsageError as error: sys.exit('pip install {name}' not in str(error))\n"
        "sys.exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
