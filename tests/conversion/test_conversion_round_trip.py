import copy
import math

import pytest
import torch
from conversion_cases import (
    CASES,
    COPIES,
    ActivatedBatchNorm,
    RenamedBatchNorm,
    assert_same,
    built,
    image_net,
    images,
    snapshot,
    sync_net,
)
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnlens
import bnlens.nn
from bnlens.errors import ModelError

BUILDERS = pytest.mark.parametrize(("build", "x"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])


@BUILDERS
@pytest.mark.parametrize("training", [True, False])
def test_there_and_back_leaves_no_trace(build, x, training):
    model = built(build, x).train(training)
    next(model.parameters()).requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    before = snapshot(model)
    assert bnlens.convert(model, statistics_batch_size=4) is model
    assert bnlens.revert(model) is model
    assert_same(snapshot(model), before)


@BUILDERS
@pytest.mark.parametrize("size", [None, 4, math.inf])
def test_the_repr_of_a_converted_layer_shows_it(build, x, size):
    model = built(build, x)
    before = repr(model)
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    bnlens.convert(model, statistics_batch_size=size)
    assert all(repr(layer).count(f"statistics_batch_size={size}") == 1 for layer in layers)
    assert repr(bnlens.revert(model)) == before


def test_the_repr_shows_it_beside_that_of_a_subclass():
    class Named(nn.BatchNorm1d):
        def extra_repr(self):
            return f"features of {self.num_features}"

    class Silent(nn.BatchNorm1d):
        def extra_repr(self):
            return ""

    model = bnlens.convert(nn.Sequential(Named(3), Silent(3)), statistics_batch_size=8)
    assert [repr(layer) for layer in model] == [
        "Named(features of 3, statistics_batch_size=8)",
        "Silent(statistics_batch_size=8)",
    ]


@BUILDERS
def test_evaluation_is_bit_identical_after_each_step(build, x):
    model = built(build, x).eval()
    expected = model(x)
    assert torch.equal(bnlens.convert(model, statistics_batch_size=math.inf)(x), expected)
    assert torch.equal(bnlens.revert(model)(x), expected)


@BUILDERS
def test_training_at_the_batch_at_hand_is_what_it_was(build, x):
    model = built(build, x).train()
    twin = copy.deepcopy(model)
    bnlens.convert(model)
    for step in range(3):
        y, expected = model(x + step), twin(x + step)
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-5, atol=1e-4)
    for buffer, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-6, atol=1e-6)


@BUILDERS
def test_state_dicts_go_both_ways(build, x):
    plain, converted = built(build, x), bnlens.convert(built(build, x), statistics_batch_size=4)
    with torch.no_grad():
        for tensor in plain.state_dict().values():
            tensor.add_(1)
    converted.load_state_dict(plain.state_dict())
    assert torch.equal(converted.eval()(x), plain.eval()(x))
    fresh = build()
    fresh.load_state_dict(converted.state_dict())
    assert torch.equal(fresh.eval()(x), plain(x))


@BUILDERS
def test_every_layer_takes_statistics_over_m_samples(build, x):
    model = bnlens.convert(built(build, x), statistics_batch_size=4).train()
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert [layer.statistics_batch_size for layer in layers] == [4] * len(layers)
    halves = [copy.deepcopy(layers[0]) for _ in range(2)]
    h = torch.randn(8, layers[0].num_features, 5, 5, dtype=x.dtype)
    h = h[..., None] if isinstance(layers[0], nn.BatchNorm3d) else h
    groups = torch.cat([half(part) for half, part in zip(halves, h.split(4), strict=True)])
    torch.testing.assert_close(layers[0](h), groups, rtol=1e-5, atol=1e-5)


def test_classes_after_conversion():
    model = bnlens.convert(image_net())
    assert type(model.bn) is bnlens.nn.BatchNorm2d
    assert type(model.last) is bnlens.nn.BatchNorm1d
    assert isinstance(model.block[1], ActivatedBatchNorm)
    assert isinstance(model.block[3], RenamedBatchNorm)
    assert isinstance(model.block[3], bnlens.nn.BatchNorm2d)
    assert type(model.norm) is nn.InstanceNorm2d
    assert repr(model.block[3]).startswith("RenamedBatchNorm(\n  4, eps=1e-05")


def test_a_sync_layer_takes_any_dimension_and_keeps_its_process_group():
    model = sync_net()
    group = model[1].process_group = object()
    bnlens.convert(model, statistics_batch_size=4).train()(images())
    assert model[1].process_group is group
    assert type(bnlens.revert(model)[3]) is nn.SyncBatchNorm


def test_a_model_built_with_bnlens_layers_becomes_torchs():
    model = nn.Sequential(bnlens.nn.BatchNorm1d(3), bnlens.nn.PopulationBatchNorm2d(3, eps=1e-3))
    bnlens.revert(model)
    assert [type(layer) for layer in model] == [nn.BatchNorm1d, nn.BatchNorm2d]
    assert_same(sorted(vars(model[1])), sorted(vars(nn.BatchNorm2d(3))))
    assert model[1].eps == 1e-3


def test_the_dial_and_freezing_work_on_converted_layers():
    model = bnlens.convert(image_net())
    assert bnlens.set_statistics_batch_size(model, 4) == 6
    assert model.bn.statistics_batch_size == 4


def test_hooks_stay_and_can_be_removed():
    model = nn.Sequential(nn.BatchNorm1d(2))
    seen = []
    handle = model[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    x = torch.randn(8, 2)
    bnlens.convert(model)(x)
    bnlens.revert(model)(x)
    handle.remove()
    model(x)
    assert seen == [bnlens.nn.BatchNorm1d, nn.BatchNorm1d]


def test_mode_is_kept_layer_by_layer():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    model[0].eval()
    bnlens.convert(model)
    assert [layer.training for layer in model] == [False, True]
    assert bnlens.freeze(model) == 2
    assert [layer.training for layer in model.train()] == [False, False]


def test_buffers_of_the_window_follow_device_and_dtype():
    with torch.device("meta"):
        model = nn.Sequential(
            nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False, track_running_stats=False), nn.BatchNorm1d(3).double()
        )
    bnlens.convert(model, statistics_batch_size=4)
    assert [layer.window for layer in model[1:]] == [None, None]  # or a loader would leave anything in them
    model.to_empty(device="cpu")
    model[1](torch.randn(2, 3))  # without tensors of its own, it finds its place with the first batch
    assert [layer.window.dtype for layer in model[1:]] == [torch.float32, torch.float64]


def test_conversion_in_inference_mode_leaves_a_model_that_trains():
    model = nn.Sequential(nn.BatchNorm1d(2))
    with torch.inference_mode():
        bnlens.convert(model, statistics_batch_size=16)
    model(torch.randn(8, 2))
    assert model[0].window_samples == pytest.approx(8)


@pytest.mark.parametrize("layers", ["block", ["block.1", "block.3"], ("block",)])
def test_a_choice_of_layers(layers):
    model = bnlens.convert(image_net(), layers=layers)
    assert isinstance(model.block[1], bnlens.nn.BatchNorm2d)
    assert isinstance(model.block[3], bnlens.nn.BatchNorm2d)
    assert type(model.bn) is nn.BatchNorm2d


def test_a_second_conversion_takes_the_layers_that_are_left():
    model = bnlens.convert(image_net(), layers="bn", statistics_batch_size=4)
    bnlens.convert(model, statistics_batch_size=8)
    assert (model.bn.statistics_batch_size, model.last.statistics_batch_size) == (4, 8)
    with pytest.raises(ModelError, match=r"are bnlens layers already; bnlens.set_statistics_batch_size sets"):
        bnlens.convert(model)


def test_a_shared_layer_stays_shared_and_is_chosen_by_either_path():
    layer = nn.BatchNorm1d(2)
    model = nn.Sequential(nn.Sequential(layer), nn.Sequential(layer))
    bnlens.convert(model, layers="1.0")
    assert model[0][0] is model[1][0] is layer
    assert type(layer) is bnlens.nn.BatchNorm1d


@COPIES
def test_copies_of_converted_models_work_and_revert(copied):
    x = images()
    model = bnlens.convert(built(image_net, x), statistics_batch_size=4).train()
    model(x)
    twin = copied(model)
    assert torch.equal(twin(x), model(x))
    assert torch.equal(twin.bn.window, model.bn.window)
    assert twin.block[1].statistics_batch_size == 4
    bnlens.revert(twin)
    assert type(twin.block[1]) is ActivatedBatchNorm
    assert type(model.block[1]) is not ActivatedBatchNorm
    assert torch.equal(twin.eval()(x), model.eval()(x))
