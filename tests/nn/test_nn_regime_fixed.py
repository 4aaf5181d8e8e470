"""The regime fixed by the user, and graphs that are exported with a dynamic batch."""

import copy
import math

import pytest
import torch
from nn_twins import assert_groups_are_a_loop, pair, results
from torch import nn
from torch.export import Dim

import bnlens
import bnlens.nn
from bnlens.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def batch(samples, *shape, seed=0, dtype=torch.float64):
    return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def net(M, regime):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), bnlens.nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    bnlens.set_statistics_batch_size(model.double(), M, regime=regime)
    return model


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 4), (3, 2, 3, 2)])
def test_ghost_groups_of_exactly_m(shape):
    for samples in (4, 8, 12):
        ours, torchs = pair(len(shape) + 1, 3, dtype=torch.float64, statistics_batch_size=4)
        ours.regime = "ghost"
        assert_groups_are_a_loop(ours, torchs, batch(samples, *shape), batch(samples, *shape, seed=1), 1e-12)


@pytest.mark.parametrize(
    ("M", "regime", "samples", "fix"),
    [
        (4, "ghost", 6, "multiple of 4"),
        (4, "ghost", 3, "multiple of 4"),
        (4, "window", 5, "at most 4"),
        (None, "ghost", 8, "takes an int"),
        (math.inf, "ghost", 8, "takes an int"),
        (None, "window", 8, "takes an int or math.inf"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(M, regime, samples, fix):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, regime=regime)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(UsageError, match=fix):
        layer(batch(samples, 3, 4, 4, dtype=torch.float32))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    layer.eval()(batch(samples, 3, 4, 4, dtype=torch.float32))  # evaluation has no regime
    layer.train().regime = "auto"
    layer(batch(samples, 3, 4, 4, dtype=torch.float32))


def test_setting_it():
    model = net(4, "ghost")
    assert model[1].regime == "ghost"
    assert "regime=ghost" in repr(model[1])
    bnlens.set_statistics_batch_size(model, 8)
    assert model[1].regime == copy.deepcopy(model)[1].regime == "ghost"
    bnlens.set_statistics_batch_size(model, 8, regime="auto")
    assert "regime" not in repr(model[1])
    for make in (
        lambda: bnlens.nn.BatchNorm2d(3, regime="groups"),
        lambda: bnlens.set_statistics_batch_size(model, 2, regime="batch"),
    ):
        with pytest.raises(UsageError, match="it must be one of 'auto', 'ghost', 'window'"):
            make()
    assert model[1].statistics_batch_size == 8


def test_a_fixed_window_is_that_of_smaller_batches():
    fixed, free = (bnlens.nn.BatchNorm2d(3, statistics_batch_size=16, regime=regime) for regime in ("window", "auto"))
    for samples in (4, 8, 16, 6):
        x = batch(samples, 3, 4, 4, dtype=torch.float32)
        torch.testing.assert_close(fixed(x), free(x))
    torch.testing.assert_close(fixed.state_dict(), free.state_dict())


@pytest.mark.parametrize(
    ("M", "regime", "strict"),
    [
        (None, "auto", False),
        (4, "ghost", False),
        (4, "ghost", True),
        (32, "window", False),
        (32, "window", True),
        (math.inf, "window", False),
    ],
)
def test_training_is_exported_with_a_dynamic_batch(M, regime, strict):
    model = net(M, regime)
    sizes = 4 * Dim("k", min=1, max=8) if regime == "ghost" else Dim("n", min=2, max=32)
    exported = torch.export.export(model, (batch(8, 3, 6, 6),), dynamic_shapes=({0: sizes},), strict=strict).module()
    twin = copy.deepcopy(model)
    for seed, samples in enumerate((8, 12, 16, 8)):
        x, cotangent = batch(samples, 3, 6, 6, seed=seed), batch(samples, 2, seed=9 + seed)
        found, expected = results(exported, x, cotangent), results(twin, x, cotangent)
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize("M", [3, 8, 20])
def test_gradients_of_a_graph_whose_batch_chose(M):
    model = net(M, "auto")
    exported = torch.export.export(model, (batch(8, 3, 6, 6),), strict=True).module()
    twin, x, cotangent = copy.deepcopy(model), batch(8, 3, 6, 6, seed=1), batch(8, 2, seed=2)
    found, expected = results(exported, x, cotangent), results(twin, x, cotangent)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("M", "regime"), [(4, "ghost"), (32, "window")])
def test_a_compiled_layer_is_one_graph_for_all_batches(M, regime):
    torch._dynamo.reset()
    model = net(M, regime)
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for seed, samples in enumerate((8, 12, 16)):
        x, cotangent = batch(samples, 3, 6, 6, seed=seed), batch(samples, 2, seed=9 + seed)
        y, expected = compiled(x), twin(x)
        torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
        for output in (y, expected):
            output.backward(cotangent)
        torch.testing.assert_close(model[0].weight.grad, twin[0].weight.grad, rtol=1e-9, atol=1e-9)
