"""Layers that synchronise as citizens of PyTorch: DDP, checkpointing, compilation, copies, and wrong uses."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
from nn_twins import ROUNDING, assert_same
from sync_ranks import batches, layer_of, steps_of
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnlens
import bnlens.nn
from bnlens.errors import UsageError
from gloo_pool import GlooPool

REGIMES = [None, 8, 12, 40, math.inf]  # of 2 x 16: the joint batch, groups within ranks and across them, windows


def net(M: float | None, *, sync: bool) -> nn.Sequential:
    torch.manual_seed(0)
    options = {"statistics_batch_size": M, "sync": sync}
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), bnlens.nn.BatchNorm2d(6, **options), nn.ReLU(),
        nn.Conv2d(6, 4, 3), bnlens.nn.BatchNorm2d(4, **options), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 5), bnlens.nn.BatchNorm1d(5, **options),
    )  # fmt: skip


def data(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(32, 2, 6, 6, generator=generator), torch.randint(5, (32,), generator=generator)


def train(model: nn.Module, share: slice) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(3):
        x, labels = data(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[share]), labels[share]).backward()
        optimizer.step()


def train_wrapped(M: float | None) -> dict[str, Tensor]:
    model = net(M, sync=True)
    rank = dist.get_rank()
    train(nn.parallel.DistributedDataParallel(model), slice(16 * rank, 16 * rank + 16))
    return state_of(model)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    windows = {name: layer["window"] for name, layer in bnlens.nn.window_state(model).items()}
    return dict(model.state_dict()) | {name: window for name, window in windows.items() if window is not None}


@pytest.mark.parametrize("M", REGIMES)
def test_a_network_under_ddp_trains_as_on_one_process(gloo_pool: GlooPool, M):
    one, other = gloo_pool.run(train_wrapped, [M, M])
    assert_same(one, other, 0)
    model = net(M, sync=False)
    train(model, slice(None))
    expected = state_of(model)
    assert_same(one, expected, 1e-5)
    before = net(M, sync=False)[3].weight.detach()
    assert float((expected["3.weight"] - before).abs().max()) > 1e-2  # it did train


def checkpointed(job: tuple[float | None, bool, int]) -> list[list[list[Tensor]]]:
    M, reentrant, rank = job
    plain, other = net(M, sync=True), net(M, sync=True)
    found = []
    for step in range(3):
        x = data(step)[0][16 * rank : 16 * rank + 16].requires_grad_()
        outputs = [other(x), checkpoint(plain, x, use_reentrant=reentrant)]
        for model, y in zip((other, plain), outputs, strict=True):
            model.zero_grad()
            y.square().sum().backward()
        nets = plain, other
        found.append([[*(p.grad for p in net.parameters()), *(b.clone() for b in net.buffers())] for net in nets])
    return found


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_updates_once_and_waits_for_no_one(gloo_pool: GlooPool, reentrant, M):
    for steps in gloo_pool.run(checkpointed, [(M, reentrant, rank) for rank in (0, 1)]):
        for found, expected in steps:
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)


class Straight(nn.Module):
    """Without a loop in its forward, in which a graph break would leave the whole of it uncompiled."""

    def __init__(self, M: float | None) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 6, 3)
        self.norm = bnlens.nn.BatchNorm2d(6, statistics_batch_size=M, sync=True)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.norm(self.body(x)).relu()


def compiled(job: tuple[float | None, int]) -> dict[str, Any]:
    M, rank = job
    torch.manual_seed(0)
    torch._dynamo.reset()
    eager = Straight(M)
    model = copy.deepcopy(eager)
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward

    run = torch.compile(model, backend=backend)
    same = []
    for step in range(2):
        x = data(step)[0][16 * rank : 16 * rank + 16]
        y, expected = run(x), eager(x)
        for output in (y, expected):
            output.square().sum().backward()
        same.append(torch.equal(y, expected) and torch.equal(model.body.weight.grad, eager.body.weight.grad))
    torch._dynamo.reset()
    refused = "nothing"
    try:
        torch.compile(copy.deepcopy(eager), backend=backend, fullgraph=True)(x)
    except Exception as error:  # noqa: BLE001 - a class of the compiler's own
        refused = type(error).__name__
    window = torch.equal(model.norm.window, eager.norm.window)
    return {"graphs": graphs, "same": same, "window": window, "whole": refused}


def test_compiled_a_layer_is_one_graph_break(gloo_pool: GlooPool):
    for found in gloo_pool.run(compiled, [(12, 0), (12, 1)]):
        assert found == {"graphs": [1, 2], "same": [True, True], "window": True, "whole": "Unsupported"}


def alone(M: float | None) -> list[bool]:
    groups = [dist.new_group([rank]) for rank in range(dist.get_world_size())]
    given = batches((16, 3, 2, 2), 3)
    own = groups[dist.get_rank()]
    found, expected = (steps_of((layer_of(4, M, sync=sync), given)) for sync in (own, False))
    dist.destroy_process_group(own)
    return [torch.equal(step[name], other[name]) for step, other in zip(found, expected, strict=True) for name in step]


@pytest.mark.parametrize("M", REGIMES)
def test_a_group_of_one_rank_is_that_rank(gloo_pool: GlooPool, M):
    assert all(all(same) for same in gloo_pool.run(alone, [M, M]))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
def test_copies_synchronise_too(copied):
    layer = copied(bnlens.nn.BatchNorm2d(3, statistics_batch_size=8, sync=True))
    assert layer.sync is True
    assert "statistics_batch_size=8, sync=True" in repr(layer)


def message(call: Any) -> str:
    try:
        call()
    except (RuntimeError, TypeError, UsageError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_without_a_process_group_training_is_refused_and_evaluation_is_not():
    layer = bnlens.nn.BatchNorm1d(3, sync=True)
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(8, 3)
    with pytest.raises(UsageError, match=r"sync=True .*call torch.distributed.init_process_group first, or set sync=F"):
        layer(x)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    torch.testing.assert_close(layer.eval()(x), nn.BatchNorm1d(3).eval()(x))
    layer.sync = False
    assert layer.train()(x).shape == (8, 3)


@pytest.mark.parametrize("value", ["yes", 1, None, -100, [True]])
def test_what_is_no_process_group_is_refused(value):
    with pytest.raises(UsageError, match=r"sync is .*; it must be True or False or a torch.distributed.ProcessGroup"):
        bnlens.nn.BatchNorm1d(3, sync=value)
    layer = bnlens.nn.BatchNorm1d(3)
    with pytest.raises(UsageError, match=r"sync is .*; it must be True"):
        layer.sync = value
    assert layer.sync is False


def test_the_dial_sets_sync_on_whole_models():
    model = nn.Sequential(bnlens.nn.BatchNorm1d(3), bnlens.nn.BatchNorm1d(3, statistics_batch_size=16))
    model(torch.randn(8, 3))
    assert model[1].window_samples == pytest.approx(8)
    assert bnlens.set_statistics_batch_size(model, 16, sync=True) == 2
    assert [layer.sync for layer in model] == [True, True]
    assert model[1].window_samples == 0
    bnlens.set_statistics_batch_size(model, 8)
    assert [layer.sync for layer in model] == [True, True]
    with pytest.raises(UsageError, match="sync is 'no'"):
        bnlens.set_statistics_batch_size(model, 4, sync="no")
    assert [layer.statistics_batch_size for layer in model] == [8, 8]
    bnlens.set_statistics_batch_size(model, None, sync=False)
    assert [layer.sync for layer in model] == [False, False]


def test_setting_sync_empties_the_window():
    layer = bnlens.nn.BatchNorm1d(3, statistics_batch_size=16)
    layer(torch.randn(8, 3))
    layer.sync = True
    assert layer.window_samples == 0


def misuses(rank: int) -> dict[str, str]:
    x = torch.randn(8, 3)
    layer = bnlens.nn.BatchNorm1d(3, statistics_batch_size=4 + rank, sync=True)
    found = {"different": message(lambda: layer(x))}
    layer = bnlens.nn.BatchNorm1d(3, sync=True)
    found["one"] = message(lambda: layer(x[:rank]))
    found["two"] = message(lambda: layer(x[:1]))
    model = nn.Sequential(nn.Linear(3, 4), bnlens.nn.PopulationBatchNorm1d(4, sync=True))
    found["regulariser"] = message(lambda: bnlens.nn.GammaDecay(model, 8)(x))
    found["after"] = message(lambda: model(x))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(leaf).square().sum(), leaf, create_graph=True)
    found["twice"] = message(lambda: slope.sum().backward())
    group = dist.new_group([0, 1])
    layer.sync = group
    found["copy"] = message(lambda: copy.deepcopy(layer))
    found["torch's"] = message(lambda: copy.deepcopy(nn.SyncBatchNorm(3, process_group=group)))
    dist.destroy_process_group(group)
    return found


def test_wrong_uses_are_told_on_every_rank(gloo_pool: GlooPool):
    for found in gloo_pool.run(misuses, [0, 1]):
        assert found["different"].startswith("UsageError: the ranks have statistics batch sizes 4, 5 in one layer")
        assert found["one"].startswith("UsageError: got one value per channel in training")
        assert "UsageError: explicit regularisers watch the statistics of one rank; set sync" in found["regulariser"]
        assert "once_differentiable" in found["twice"]
        refused = "TypeError: cannot pickle 'torch._C._distributed_c10d.ProcessGroup' object"
        assert found["copy"] == found["torch's"] == refused
        assert found["two"] == found["after"] == "no error"
