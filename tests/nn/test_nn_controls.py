"""The dial and the freezer on whole models."""

import copy
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from bnlens.errors import UsageError


def net(layer: type[nn.Module] = bnlens.nn.BatchNorm1d) -> nn.Sequential:
    torch.manual_seed(0)
    shared = layer(6)
    return nn.Sequential(nn.Linear(4, 6), shared, nn.ReLU(), nn.Linear(6, 6), shared, nn.Sequential(layer(6)))


def test_sets_every_layer_once_and_empties_windows():
    model = net()
    assert bnlens.set_statistics_batch_size(model, 16) == 2
    model(torch.randn(8, 4))
    assert model[5][0].window_samples == pytest.approx(8)
    state = copy.deepcopy(model.state_dict())
    for M in (np.int64(32), math.inf, None):
        bnlens.set_statistics_batch_size(model, M)
        assert {model[1].statistics_batch_size, model[5][0].statistics_batch_size} == {M}
        assert model[5][0].window_samples == 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("M", [1, 0, -4, 32.0, True, "32", math.nan, -math.inf, [32]])
def test_refuses_what_is_no_batch_size(M):
    model = net()
    with pytest.raises(UsageError, match=r"it must be an integer of at least 2, math\.inf or None"):
        bnlens.set_statistics_batch_size(model, M)
    with pytest.raises(UsageError, match=r"it must be an integer of at least 2, math\.inf or None"):
        bnlens.nn.BatchNorm1d(3, statistics_batch_size=M)
    assert model[1].statistics_batch_size is None


@pytest.mark.parametrize(("M", "device", "window"), [(64, 16, 122), (64, 64, 64), (64, 256, 64), (None, 16, None)])
def test_windows_widen_for_the_device_batch_that_is_given(M, device, window):
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bnlens.set_statistics_batch_size(model, M, device_batch_size=device) == 2
        assert {model[1].statistics_batch_size, model[5][0].statistics_batch_size} == {window}
        model(torch.randn(device, 4))  # a quarter of M is not small, whatever the window
    assert bnlens.set_statistics_batch_size(model, math.inf, device_batch_size=4) == 2
    assert model[1].statistics_batch_size == math.inf


def test_batches_that_are_small_for_the_network_are_told_of_at_once_and_only_once():
    model = net()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        bnlens.set_statistics_batch_size(model, 64, device_batch_size=8)
        told = len(found)
        model(torch.randn(8, 4))
    assert "batches of 8 samples for a statistics batch size of 64: below 64/4" in str(found[0].message)
    assert told == len(found) == 2  # one for each layer


@pytest.mark.parametrize("device", [0, -4, 16.0, True, "16", math.inf])
def test_refuses_what_is_no_device_batch(device):
    model = net()
    with pytest.raises(UsageError, match=r"device_batch_size is .*; it must be an integer of at least 1 or None"):
        bnlens.set_statistics_batch_size(model, 64, device_batch_size=device)
    assert model[1].statistics_batch_size is None


@pytest.mark.parametrize("M", [None, 4, 64])
def test_a_frozen_layer_normalises_by_running_statistics_whatever_has_set_the_mode(M):
    model, x = net(), torch.randn(16, 4)
    model(x)
    bnlens.set_statistics_batch_size(model, M)
    bnlens.freeze(model)
    expected, state = model.eval()(x), copy.deepcopy(model.state_dict())
    for module in model.modules():
        module.training = True  # as some tools do, without train()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for run in (model, compiled):
        torch.testing.assert_close(run(x), expected)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("function", [lambda m: bnlens.set_statistics_batch_size(m, 8), bnlens.freeze, bnlens.unfreeze])
def test_models_without_our_layers_are_told_what_to_use(function):
    with pytest.raises(UsageError, match=r"Linear has no BN layer at all; give a model that has layers"):
        function(nn.Linear(2, 2))
    with pytest.raises(UsageError, match=r"Sequential has BN layers of torch only, such as '1'; convert it"):
        function(net(nn.BatchNorm1d))


@pytest.mark.parametrize("M", [None, 4, 16, math.inf])
def test_frozen_layers_stay_frozen(M):
    model = net()
    bnlens.set_statistics_batch_size(model, M)
    model(torch.randn(8, 4))
    assert bnlens.freeze(model) == 2
    model.train()
    copied = copy.deepcopy(model).train()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    x = torch.randn(8, 4)
    y = model(x)
    assert torch.equal(y, copied(x))
    y.sum().backward()
    assert model[1].weight.grad is not None
    assert model.training
    assert not model[1].training
    assert "frozen=True" in repr(model[1])
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert torch.equal(y, copied.eval()(x))

    assert bnlens.unfreeze(model) == 2
    assert model[1].training
    assert model[1].window_samples == 0
    model(x)
    assert not torch.equal(model[1].running_mean, buffers["1.running_mean"])


def test_unfreezing_keeps_the_models_mode():
    model = net().eval()
    bnlens.freeze(model)
    bnlens.unfreeze(model)
    assert not model[1].training
    bnlens.freeze(model[1])
    bnlens.unfreeze(model[1])
    assert model[1].training


def test_a_model_that_would_be_frozen_in_part_is_refused():
    model = nn.Sequential(bnlens.nn.BatchNorm1d(4), nn.ModuleDict({"norm": nn.BatchNorm1d(4)}))
    with pytest.raises(UsageError, match=r"layer '1.norm' is torch.*BatchNorm1d, which train\(\) would set back"):
        bnlens.freeze(model)
    with pytest.raises(UsageError, match="layer 'BatchNorm1d' keeps no running statistics"):
        bnlens.freeze(bnlens.nn.BatchNorm1d(4, track_running_stats=False))
    assert not model[0].frozen


def test_reports_measure_models_of_these_layers():
    layers = bnlens.nn.BatchNorm1d(6, statistics_batch_size=64), nn.BatchNorm1d(6)
    model, plain = (nn.Sequential(nn.Linear(4, 6), layer, nn.ReLU(), nn.Linear(6, 3)) for layer in layers)
    plain.load_state_dict(model.state_dict())
    x, labels = torch.randn(64, 4), torch.randint(3, (64,))
    found, expected = (
        bnlens.report(m, [(x, labels)], nn.CrossEntropyLoss(), statistics_batch_size=(8,), rounds=1)
        for m in (model, plain)
    )
    assert found.network.gaps.measured[8].value == pytest.approx(expected.network.gaps.measured[8].value)
    assert found.layers[0].share[8].value == pytest.approx(expected.layers[0].share[8].value)
    assert model[1].training
    assert model[1].window_samples == 0


def test_importing_bnlens_imports_no_torch():
    code = "import bnlens, sys; assert 'torch' not in sys.modules; bnlens.freeze; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
