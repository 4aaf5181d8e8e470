import functools
import math
from contextlib import ExitStack

import pytest
import torch
from conversion_cases import ScaleNorm, WrittenOutBatchNorm, assert_same, image_net, images, snapshot
from torch import nn

import bnlens
import bnlens.nn
from bnlens.conversion import _convert
from bnlens.conversion._changes import change_class
from bnlens.errors import (
    BnlensError,
    ConversionError,
    ModelError,
    NeedsRuleError,
    NotConvertibleError,
    NotYetConvertibleError,
    UsageError,
)


class OwnFrozenBatchNorm(nn.BatchNorm1d):
    frozen = False


class OwnWindowBatchNorm(nn.BatchNorm1d):
    def __init__(self, num_features):
        super().__init__(num_features)
        self.window = 3


class FrozenBatchNorm2d(ScaleNorm):
    pass


class DerivedBatchNorm(bnlens.nn.BatchNorm1d):
    pass


class EvaluatingBatchNorm(nn.BatchNorm1d):
    """Names super().forward, and does not use it in training."""

    def forward(self, input):  # noqa: A002
        if not self.training:
            return super().forward(input)
        return (input - input.mean(0)) / input.std(0)


def patched() -> nn.Module:
    layer = nn.BatchNorm1d(2)
    layer.forward = functools.partial(type(layer).forward, layer)
    return layer


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (nn.LazyBatchNorm1d(), NotYetConvertibleError, r"layer '1.0' \(LazyBatchNorm1d\) .* run one batch"),
        (WrittenOutBatchNorm(2), NeedsRuleError, r"'1.0' \(.*WrittenOutBatchNorm\) .* register_rule\(kind, forward="),
        (OwnFrozenBatchNorm(2), NeedsRuleError, r"layer '1.0' .* has a 'frozen' of its own.* register_rule\(kind, to="),
        (OwnWindowBatchNorm(2), NeedsRuleError, r"layer '1.0' .* has an attribute 'window'.* register_rule\(kind, to="),
        (patched(), NotYetConvertibleError, r"layer '1.0' has a forward set on the instance.* take it off"),
    ],
)
def test_a_layer_that_cannot_be_converted_leaves_the_model_as_it_was(layer, error, message):
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(layer), nn.BatchNorm1d(2))
    before = snapshot(model[0]), type(layer), sorted(vars(layer))
    with pytest.raises(error, match=message):
        bnlens.convert(model, statistics_batch_size=4)
    assert_same((snapshot(model[0]), type(layer), sorted(vars(layer))), before)
    bnlens.convert(model, layers=["0", "2"])
    assert type(model[2]) is bnlens.nn.BatchNorm1d


@pytest.mark.parametrize("step", [1, 3, 5])
def test_an_interrupt_in_the_middle_leaves_the_model_as_it_was(monkeypatch, step):
    change_class, calls = _convert.change_class, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        change_class(*args, **kwargs)
        if len(calls) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(_convert, "change_class", interrupted)
    model = image_net()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        bnlens.convert(model, statistics_batch_size=4)
    assert_same(snapshot(model), before)
    calls.clear()
    monkeypatch.setattr(_convert, "change_class", change_class)
    bnlens.convert(model, statistics_batch_size=4)
    model(images())
    before = snapshot(model)
    monkeypatch.setattr(_convert, "change_class", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bnlens.revert(model)
    assert_same(snapshot(model), before)


def test_a_class_that_cannot_be_derived_from():
    class Sealed(nn.BatchNorm1d):
        def __init_subclass__(cls):
            raise TypeError("Sealed is final")

    model = nn.Sequential(nn.BatchNorm1d(2), Sealed(2))
    with pytest.raises(NotConvertibleError, match=r"layer '1' \(.*Sealed\) cannot be derived from, .* Sealed is final"):
        bnlens.convert(model)
    assert type(model[0]) is nn.BatchNorm1d


def test_a_class_that_cannot_be_changed():
    class Slotted(nn.BatchNorm1d):
        __slots__ = ("extra",)

    layer = Slotted(2)
    with ExitStack() as undo, pytest.raises(NotConvertibleError, match=r"layer .norm. .* cannot take on another class"):
        change_class(layer, bnlens.nn.BatchNorm1d, undo, state=bnlens.nn.BatchNorm1d(2), path="norm")
    assert type(layer) is Slotted


def test_a_layer_that_turns_out_not_to_use_ours_says_so_when_it_trains():
    model = bnlens.convert(nn.Sequential(EvaluatingBatchNorm(2)))
    x = torch.randn(8, 2)
    assert model.eval()(x).shape == (8, 2)
    with pytest.raises(NeedsRuleError, match=r"'0' \(.*EvaluatingBatchNorm\) did not normalise by super\(\).forward"):
        model.train()(x)
    assert type(bnlens.revert(model)[0]) is EvaluatingBatchNorm
    assert model(x).shape == (8, 2)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("statistics_batch_size", value) for value in (1, 0, -4, 2.5, math.nan, "32", True)]
    + [("sync", value) for value in ("all", 2, -100)],
)
def test_m_and_sync_that_are_none(argument, value):
    model = image_net()
    before = snapshot(model)
    with pytest.raises(UsageError, match=rf"{argument} is .*; it must be "):
        bnlens.convert(model, **{argument: value})
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("change", [bnlens.convert, bnlens.revert])
def test_arguments_of_the_wrong_kind(change):
    with pytest.raises(UsageError, match=r"model is of type list; it must be a torch.nn.Module"):
        change([nn.BatchNorm1d(2)])
    with pytest.raises(UsageError, match=r"optimizer is \[\]; it must be a torch.optim.Optimizer or None"):
        change(bnlens.nn.BatchNorm1d(2), optimizer=[])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("blok", r"layers names 'blok', which Sequential has not; did you mean 'block'\?"),
        (["bn", "zzz"], r"layers names 'zzz', which Sequential has not; paths are those of model.named_modules"),
    ],
)
def test_unknown_paths(layers, message):
    with pytest.raises(UsageError, match=message):
        bnlens.convert(image_net(), layers=layers)


@pytest.mark.parametrize(
    ("model", "layers", "error", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2)), None, ModelError, "Sequential has no BN layer to convert; give a model with"),
        (nn.InstanceNorm2d(3), None, ModelError, "InstanceNorm2d has no BN layer to convert"),
        (image_net(), "head", ModelError, "there is no BN layer to convert in what layers= chooses of Sequential"),
        (
            nn.Sequential(FrozenBatchNorm2d(3)),
            None,
            NeedsRuleError,
            "derives from torch's; for layers such as '0' .*ster_rule",
        ),
    ],
)
def test_nothing_to_convert(model, layers, error, message):
    with pytest.raises(error, match=message):
        bnlens.convert(model, layers=layers)


def test_nothing_to_revert():
    with pytest.raises(ModelError, match="Sequential has no bnlens layer to revert"):
        bnlens.revert(image_net())


def test_frozen_layers_are_not_reverted():
    model = bnlens.convert(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)))
    bnlens.freeze(model)
    with pytest.raises(NotYetConvertibleError, match=r"layer '0' is frozen.*bnlens.unfreeze\(model\) first"):
        bnlens.revert(model)
    bnlens.unfreeze(model)
    assert type(bnlens.revert(model)[0]) is nn.BatchNorm1d


def test_classes_derived_from_ours_are_not_reverted():
    model = nn.Sequential(bnlens.nn.BatchNorm1d(2), DerivedBatchNorm(2))
    with pytest.raises(NeedsRuleError, match=r"layer '1' is .*DerivedBatchNorm, derived from a bnlens layer"):
        bnlens.revert(model)
    assert type(model[0]) is bnlens.nn.BatchNorm1d


def test_the_hierarchy():
    for error in (NotConvertibleError, NotYetConvertibleError, NeedsRuleError):
        assert error.__mro__[1:4] == (ConversionError, ModelError, BnlensError)
