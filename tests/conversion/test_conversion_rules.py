import math
import pickle
from functools import partial

import pytest
import torch
from conversion_cases import ActivatedBatchNorm, ScaleNorm, WrittenOutBatchNorm, assert_same, losses, snapshot
from torch import nn

import bnlens
import bnlens.nn
from bnlens.conversion import _registry, register_rule, unregister_rule
from bnlens.errors import ConversionError, NeedsRuleError, UsageError


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(_registry, "_RULES", dict(_registry._RULES))


class DoubledBatchNorm(WrittenOutBatchNorm):
    def forward(self, input):  # noqa: A002
        return 2 * super().forward(input)


def shifted(layer, normalise, x):
    return normalise(x) + 1


def to_bnlens(layer: ScaleNorm) -> nn.Module:
    """A new parameter object, in the place of the old and as the weight of a layer of ours."""
    new = bnlens.nn.BatchNorm1d(len(layer.gain))
    del new.weight
    new.gain = nn.Parameter(layer.gain.detach().clone())
    new.register_parameter("weight", new.gain)
    new.bias = None
    new.running_mean.copy_(layer.mean)
    new.running_var.copy_(layer.var)
    return new


def to_scale_norm(layer: nn.Module) -> ScaleNorm:
    new = ScaleNorm(layer.num_features)
    new.gain = nn.Parameter(layer.gain.detach().clone())
    new.mean.copy_(layer.running_mean)
    new.var.copy_(layer.running_var)
    return new


@pytest.mark.parametrize("kind", [WrittenOutBatchNorm, "conversion_cases.WrittenOutBatchNorm"], ids=["class", "name"])
@pytest.mark.parametrize("cls", [WrittenOutBatchNorm, DoubledBatchNorm])
def test_a_forward_rule_serves_a_kind_and_its_subclasses(cls, kind):
    register_rule(kind, forward=shifted)
    model = nn.Sequential(cls(3))
    x = torch.randn(8, 3)
    expected = cls(3)(x)
    before = snapshot(model)
    bnlens.convert(model)
    torch.testing.assert_close(model(x), expected)
    assert isinstance(model[0], cls)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))
    bnlens.revert(model)
    model[0].reset_running_stats()
    assert_same(snapshot(model), before)


def test_a_name_of_ours_in_a_kind_with_a_rule():
    class Widened(WrittenOutBatchNorm):
        def reset_window(self):
            pass

    register_rule(Widened, forward=shifted)
    with pytest.raises(NeedsRuleError, match=r"layer '\(model\)' .*Widened\) has a 'reset_window' of its own"):
        bnlens.convert(Widened(3))


def test_a_forward_rule_normalises_by_m_samples():
    register_rule(WrittenOutBatchNorm, forward=shifted)
    layer = bnlens.convert(WrittenOutBatchNorm(3), statistics_batch_size=4)
    x = torch.randn(8, 3)
    std = [(part.var(0, correction=0) + layer.eps).sqrt() for part in x.split(4)]
    expected = torch.cat([(part - part.mean(0)) / s + 1 for part, s in zip(x.split(4), std, strict=True)])
    torch.testing.assert_close(layer(x), expected)


def test_the_nearest_rule_counts_and_a_later_one_takes_its_place():
    register_rule(WrittenOutBatchNorm, forward=shifted)
    register_rule(DoubledBatchNorm, forward=lambda layer, normalise, x: 5 * normalise(x))
    x = torch.randn(8, 3)
    torch.testing.assert_close(bnlens.convert(DoubledBatchNorm(3))(x), 5 * nn.BatchNorm1d(3)(x))
    register_rule(DoubledBatchNorm, forward=lambda layer, normalise, x: 7 * normalise(x))
    torch.testing.assert_close(bnlens.convert(DoubledBatchNorm(3))(x), 7 * nn.BatchNorm1d(3)(x))
    unregister_rule(DoubledBatchNorm)
    torch.testing.assert_close(bnlens.convert(DoubledBatchNorm(3))(x), 2 * nn.BatchNorm1d(3)(x) + 2)


def replaced_net() -> nn.Sequential:
    torch.manual_seed(0)
    layer = ScaleNorm(4)
    return nn.Sequential(
        nn.Linear(3, 4), layer, nn.Sequential(nn.Linear(4, 4), layer), nn.BatchNorm1d(4), nn.Linear(4, 1)
    )


def loss_at(model, step):
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return (model(x)[:, 0] - x.prod(1)).square().mean()


train = partial(losses, loss_at=loss_at)


@pytest.mark.parametrize(
    "make", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9)], ids=["adam", "sgd"]
)
def test_new_parameters_take_the_places_of_old_ones_in_the_optimizer(make):
    register_rule(ScaleNorm, to=to_bnlens, back=to_scale_norm)
    plain, model = replaced_net(), replaced_net()
    expected = train(plain, make(plain.parameters()), range(30))
    optimizer = make(model.parameters())
    got = train(model, optimizer, range(10))
    old = model[1].gain
    assert bnlens.convert(model, optimizer=optimizer) is model
    assert model[1] is model[2][1]
    assert type(model[1]) is bnlens.nn.BatchNorm1d
    assert model[1].gain is not old
    assert old not in optimizer.state
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    got += train(model, optimizer, range(10, 20))
    bnlens.revert(model, optimizer=optimizer)
    assert type(model[1]) is ScaleNorm
    got += train(model, optimizer, range(20, 30))
    assert got == pytest.approx(expected, abs=1e-5)


def test_parameters_that_are_handed_on_need_no_optimizer():
    def to(layer):
        new = bnlens.nn.BatchNorm1d(len(layer.gain))
        new.weight, new.bias = layer.gain, None
        new.running_mean, new.running_var = layer.mean, layer.var
        return new

    def back(layer):
        new = ScaleNorm(layer.num_features)
        new.gain, new.mean, new.var = layer.weight, layer.running_mean, layer.running_var
        return new

    register_rule(ScaleNorm, to=to, back=back)
    plain, model = replaced_net(), replaced_net()
    expected = train(plain, torch.optim.Adam(plain.parameters()), range(20))
    optimizer = torch.optim.Adam(model.parameters())
    got = train(model, optimizer, range(10))
    identities = [id(tensor) for tensor in (model[1].gain, model[1].mean, model[1].var)]
    bnlens.convert(model)
    got += train(model, optimizer, range(10, 15))
    bnlens.revert(model)
    got += train(model, optimizer, range(15, 20))
    assert got == pytest.approx(expected, abs=1e-6)
    assert [id(tensor) for tensor in (model[1].gain, model[1].mean, model[1].var)] == identities


def test_a_replacement_of_the_model_itself_gets_mode_hooks_and_m():
    register_rule(ScaleNorm, to=to_bnlens, back=to_scale_norm)
    model = ScaleNorm(3).eval()
    seen = []
    handle = model.register_forward_hook(lambda *_: seen.append(1))
    new = bnlens.convert(model, statistics_batch_size=math.inf)
    assert new is not model
    assert not new.training
    assert new.statistics_batch_size == math.inf
    new(torch.randn(4, 3))
    handle.remove()
    new(torch.randn(4, 3))
    assert seen == [1]
    assert type(bnlens.revert(new)) is ScaleNorm


def test_an_optimizer_never_loses_a_parameter():
    def renamed(layer):
        return bnlens.nn.BatchNorm1d(len(layer.gain))

    register_rule(ScaleNorm, to=renamed, back=to_scale_norm)
    model = replaced_net()
    optimizer = torch.optim.SGD(model.parameters())
    before = snapshot(model)
    words = r"'1' \(conversion_cases.ScaleNorm\) has a parameter 'gain' of shape \(4,\)"
    with pytest.raises(ConversionError, match=words):
        bnlens.convert(model, optimizer=optimizer)
    assert_same(snapshot(model), before)


def test_a_rule_must_give_a_bnlens_layer():
    register_rule(ScaleNorm, to=lambda layer: nn.BatchNorm1d(4), back=to_scale_norm)
    with pytest.raises(NeedsRuleError, match=r"'1': the rule for conversion_cases.ScaleNorm returned BatchNorm1d"):
        bnlens.convert(replaced_net())


def test_the_way_back_needs_the_rule():
    register_rule(ScaleNorm, to=to_bnlens, back=to_scale_norm)
    model = bnlens.convert(replaced_net())
    unregister_rule(ScaleNorm)
    with pytest.raises(NeedsRuleError, match=r"'1' was converted by a rule for conversion_cases.ScaleNorm that"):
        bnlens.revert(model)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ActivatedBatchNorm, {}, "must have either forward, or both to and back"),
        (ActivatedBatchNorm, {"to": to_bnlens}, "must have either forward, or both to and back"),
        (ActivatedBatchNorm, {"forward": shifted, "to": to_bnlens, "back": to_scale_norm}, "either forward, or both"),
        (ScaleNorm, {"forward": shifted}, "conversion_cases.ScaleNorm is no subclass of torch's batch normalization"),
    ],
)
def test_rules_that_cannot_work_are_refused(kind, arguments, message):
    with pytest.raises(UsageError, match=message):
        register_rule(kind, **arguments)


def test_removing_a_rule_that_is_not_there():
    with pytest.raises(UsageError, match=r"there is no rule for conversion_cases.ScaleNorm"):
        unregister_rule(ScaleNorm)
