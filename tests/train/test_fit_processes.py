"""Training by two processes of a gloo group, through accelerate, against training by one."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import bnlens
from bnlens.errors import LossError, UsageError
from bnlens.nn import set_statistics_batch_size
from bnlens.train import ImageData, build_net, fit

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
OPTIONS = {"batch_size": 32, "steps": 6, "lr": 0.1, "seed": 2}
# In float64 the two orders of summing differ by 1e-16, not by what SGD makes of 1e-7.
CASES = {
    "statistics synced": {"sync": True, "device_batch_size": 8, "statistics_batch_size": 16},
    "groups over both": {"sync": True, "device_batch_size": 8, "statistics_batch_size": 4},
    "a window over both": {"sync": True, "device_batch_size": 4, "statistics_batch_size": 32},
    "adam": {"sync": True, "device_batch_size": 8, "statistics_batch_size": 16, "optimizer": "adam", "lr": 0.01},
    "augmented": {"sync": True, "device_batch_size": 8, "statistics_batch_size": 16, "augment": True},
    "statistics of each": {"statistics_batch_size": 8},
}


def toy_data() -> ImageData:
    images = torch.randn(70, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return ImageData(images, torch.arange(70) % 3, ("a", "b", "c"), "toy", "train", (0.0,), (1.0,))


def make_net(seed: int = 0, **options: Any) -> torch.nn.Module:
    return build_net("cnn", input_shape=(1, 8, 8), num_classes=3, width=4, seed=seed, **options)


def train(options: dict[str, Any]) -> dict[str, Any]:
    """Train in this process, as one of the ranks of a group where there is one."""
    options = dict(options)
    sync, seed = options.pop("sync", None), options.pop("net_seed", 0)
    net = make_net(seed, dropout=options.pop("dropout", 0.0))
    if sync is not None:
        bnlens.convert(net)
        set_statistics_batch_size(net, None, sync=sync)
    before = {name: os.environ.get(name) for name in VARIABLES}
    history = fit(net, toy_data(), **(OPTIONS | options))
    assert {name: os.environ.get(name) for name in VARIABLES} == before
    assert all(type(module).__name__ != "DistributedDataParallel" for module in net.modules())
    return {"state": net.state_dict(), "loss": history.loss, "device_batch_size": history.device_batch_size}


def alone(options: dict[str, Any]) -> dict[str, Any]:
    """The run of one process whose forward passes are the joint ones of two."""
    options = {**options, "sync": False} if "sync" in options else dict(options)
    if "device_batch_size" in options:
        options["device_batch_size"] *= 2
    return train(options)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(gloo_pool, case):
    expected, (first, second) = alone(CASES[case]), gloo_pool.run(train, [CASES[case]] * 2)
    assert first["loss"] == second["loss"]
    assert first["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert first["device_batch_size"] == CASES[case].get("device_batch_size", 8)
    for name, tensor in expected["state"].items():
        assert torch.equal(first["state"][name], second["state"][name]), name
        if name.endswith("num_batches_tracked") and "sync" not in CASES[case]:
            continue  # each process saw half of the batches
        torch.testing.assert_close(first["state"][name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def test_each_process_shares_the_statistics_of_its_own_images(gloo_pool):
    options = {"sync": False, "statistics_batch_size": 8, "device_batch_size": 2, "share_statistics": True}
    expected, (first, second) = train({**options, "device_batch_size": 4}), gloo_pool.run(train, [options] * 2)
    assert first["loss"] == second["loss"]
    assert all(torch.equal(first["state"][name], tensor) for name, tensor in second["state"].items())
    assert first["loss"][0] == pytest.approx(expected["loss"][0], rel=1e-6)  # groups are those of one process
    assert first["loss"] == pytest.approx(expected["loss"], rel=0.01)


def test_moving_averages_are_the_first_processes(gloo_pool):
    first, second = gloo_pool.run(train, [{"statistics_batch_size": 8, "recalibrate": False}] * 2)
    for name, tensor in first["state"].items():
        assert torch.equal(second["state"][name], tensor), name


def test_processes_start_from_the_first_ones_weights(gloo_pool):
    case = CASES["statistics synced"]
    (first, second), expected = gloo_pool.run(train, [case, case | {"net_seed": 1}]), alone(case)
    assert first["loss"] == second["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def dropped(_: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Which units could be dropped, and which were, in each forward pass."""
    net, seen = make_net(dropout=0.5), []
    net.dropout.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0] != 0, output == 0)))
    fit(net, toy_data(), **OPTIONS, recalibrate=False)
    return seen


def test_processes_drop_different_units(gloo_pool):
    first, second = gloo_pool.run(dropped, [None, None])
    agree = torch.cat([
        (mine == others)[alive & others_alive]
        for (alive, mine), (others_alive, others) in zip(first, second, strict=True)
    ])  # fmt: skip
    assert len(agree) > 200
    # of fair coins that know nothing of each other half agree; four standard errors
    assert agree.double().mean().item() == pytest.approx(0.5, abs=4 * (0.25 / len(agree)) ** 0.5)


def windows(_: Any) -> list[bool]:
    """Whether each forward pass found the window that the one before had left in this process."""
    net, left, kept = bnlens.convert(make_net()), [], []
    layer = net.blocks[0][1]
    layer.register_forward_pre_hook(lambda *_: kept.append(not left or torch.equal(layer.window, left[-1])))
    layer.register_forward_hook(lambda *_: left.append(layer.window.clone()))
    fit(net, toy_data(), statistics_batch_size=32, device_batch_size=8, **OPTIONS, recalibrate=False)
    return kept


def test_each_process_keeps_its_own_window(gloo_pool):
    assert gloo_pool.run(windows, [None, None]) == [[True] * 12] * 2


def cut_and_resume(folder: str) -> dict[str, Any]:
    case = CASES["a window over both"] | {"sync": False, "recalibrate": False, "augment": True, "dropout": 0.4}
    whole = train(case)

    def cut(step: int, *_: Any) -> None:
        if step == 4:
            raise KeyError("cut")

    path = Path(folder) / "run.pt"
    try:
        train(case | {"checkpoint": path, "checkpoint_every": 3, "observe": cut})
    except KeyError:
        dist.barrier()
    found = path.is_file()
    again = train(case | {"checkpoint": path, "checkpoint_every": 3})
    dist.barrier()
    same = all(torch.equal(again["state"][name], tensor) for name, tensor in whole["state"].items())
    return {"found": found, "same": same and again["loss"] == whole["loss"], "left": path.exists()}


def test_each_process_goes_on_from_its_own_state(gloo_pool, tmp_path):
    assert gloo_pool.run(cut_and_resume, [str(tmp_path)] * 2) == [{"found": True, "same": True, "left": False}] * 2


def error_of(options: dict[str, Any]) -> tuple[str, str]:
    try:
        train(options)
    except (UsageError, LossError) as error:
        return type(error).__name__, str(error)
    return "", ""


def test_a_batch_must_be_whole_forward_passes_of_all(gloo_pool):
    errors = gloo_pool.run(error_of, [{"batch_size": 48}] * 2)
    message = "batch_size must be a multiple of 32, 16 images on each of 2 processes, got 48"
    assert errors == [("UsageError", message)] * 2


def test_all_processes_stop_at_a_loss_that_is_not_finite(gloo_pool):
    errors = gloo_pool.run(error_of, [{"lr": 1e30, "warmup_steps": 0}] * 2)
    assert errors[0] == errors[1]
    assert errors[0][0] == "LossError"


SCRIPT = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
import test_fit_processes as cases
result = cases.train(cases.CASES["statistics synced"])
rank = torch.distributed.get_rank()
assert torch.distributed.get_world_size() == 2
torch.save(result, f"{sys.argv[2]}/{rank}.pt")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_under_torchrun(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command += [str(tmp_path / "script.py"), str(Path(__file__).parent), str(tmp_path)]
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = os.environ | {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    expected = alone(CASES["statistics synced"])
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        for name, tensor in expected["state"].items():
            torch.testing.assert_close(result["state"][name], tensor, rtol=1e-5, atol=1e-5, msg=name)
