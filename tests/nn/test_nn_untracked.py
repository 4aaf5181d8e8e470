"""Passes that move nothing."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnlens
import bnlens.nn
from gloo_pool import GlooPool

REGIMES = [None, 3, 8, 20, math.inf]


def batch(seed: int, samples: int = 8) -> Tensor:
    return torch.randn(samples, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) + seed


def state(model: nn.Module) -> list[Tensor]:
    kept = [value.clone() for value in model.state_dict().values()]
    for layer in model.modules():
        if isinstance(layer, bnlens.nn.DialBatchNorm):
            kept += [layer.skipped_batches.clone(), *([] if layer.window is None else [layer.window.clone()])]
            kept += [
                torch.as_tensor(value).clone() for past in layer.responses.values() for value in vars(past).values()
            ]
    return kept


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("M", REGIMES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_nothing_moves_and_the_output_is_that_of_training(M, momentum):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, momentum=momentum)
    layer(batch(0))
    twin, before = copy.deepcopy(layer), state(layer)
    with bnlens.untracked(layer):
        x = batch(1).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        layer(batch(2) * math.nan)
    assert same(state(layer), before)
    leaf = batch(1).requires_grad_()
    expected = twin(leaf)
    expected.square().sum().backward()
    assert torch.equal(y, expected)
    assert torch.equal(x.grad, leaf.grad)
    assert not same(state(twin), before)
    assert not same([layer(batch(3))], [nn.BatchNorm2d(3)(batch(3)) * 0])
    assert not same(state(layer), before)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=None), nn.BatchNorm2d(3, track_running_stats=False)]
)
def test_torchs_layers_too(layer):
    model = nn.Sequential(copy.deepcopy(layer), bnlens.nn.BatchNorm2d(3))
    twin, before, shown = copy.deepcopy(model), state(model), repr(model)
    with bnlens.untracked(model):
        with bnlens.untracked(model):
            y = model(batch(0))
        assert repr(model) == shown
        inside = copy.deepcopy(model), copy.copy(model[0])
        model(batch(1))
    assert same(state(model), before)
    assert torch.equal(y, twin(batch(0)))
    assert model[0].track_running_stats is inside[0][0].track_running_stats is layer.track_running_stats
    assert bool(inside[1].track_running_stats) is layer.track_running_stats
    if layer.track_running_stats:
        inside[0](batch(0))
        assert torch.equal(inside[0][0].running_mean, twin[0].running_mean)
        torch.testing.assert_close(model.eval()(batch(3)), nn.Sequential(layer, nn.BatchNorm2d(3)).eval()(batch(3)))


def test_evaluation_inside_is_evaluation():
    model = nn.Sequential(nn.BatchNorm2d(3), bnlens.nn.BatchNorm2d(3, statistics_batch_size=20))
    model(batch(0))
    model.eval()
    expected = model(batch(1))
    with bnlens.untracked(model):
        assert torch.equal(model(batch(1)), expected)


def test_a_model_without_bn_has_nothing_to_hold():
    with bnlens.untracked(nn.Linear(2, 2)):
        pass


@pytest.mark.parametrize("how", [{"momentum": 0.0}, {"track_running_stats": False}])
def test_the_usual_recipes_hold_the_window_too(how):
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=20)
    layer(batch(0))
    twin, before = copy.deepcopy(layer), layer.window.clone()
    usual = {name: getattr(layer, name) for name in how}
    vars(layer).update(how)
    y = layer(batch(5))
    vars(layer).update(usual)
    assert torch.equal(layer.window, before)
    assert torch.equal(layer.running_mean, twin.running_mean)
    assert torch.equal(y, copy.deepcopy(twin)(batch(5)))
    assert torch.equal(layer(batch(1)), twin(batch(1)))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_pass_that_checkpointing_runs_again_after_the_context(reentrant):
    grads = []
    for checkpointed in (False, True):
        layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=20)
        layer(batch(0))
        x, before = batch(1).requires_grad_(), state(layer)
        with bnlens.untracked(layer):
            y = checkpoint(layer, x, use_reentrant=reentrant) if checkpointed else layer(x)
        y.pow(3).sum().backward()
        assert same(state(layer)[2:], before[2:])
        grads.append(x.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("M", [None, 3, 20])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo does
def test_under_a_compiler(M):
    torch._dynamo.reset()
    model = nn.Sequential(nn.BatchNorm2d(3), bnlens.nn.BatchNorm2d(3, statistics_batch_size=M))
    model(batch(0))
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for step in range(3):
        torch.testing.assert_close(compiled(batch(step)), twin(batch(step)))
        before = state(model)
        with bnlens.untracked(model):
            compiled(batch(9 + step))
        assert same(state(model), before)
    for found, expected in zip(state(model), state(twin), strict=True):
        torch.testing.assert_close(found, expected)


def over_ranks(job: tuple[float | None, Tensor]) -> list[bool]:
    M, x = job
    layer = bnlens.nn.BatchNorm2d(3, statistics_batch_size=M, sync=True)
    layer(x)
    before, twin = state(layer), copy.deepcopy(layer)
    with bnlens.untracked(layer):
        y = layer(2 * x + 1)
    return [same(state(layer), before), torch.equal(y, twin(2 * x + 1)), not same(state(twin), before)]


@pytest.mark.parametrize("M", [None, 6, 16, 40, math.inf])
def test_over_ranks(gloo_pool: GlooPool, M):
    assert gloo_pool.run(over_ranks, [(M, batch(0)), (M, batch(1))]) == [[True] * 3] * 2


def test_shared_statistics_inside_leave_their_averages_alone():
    layer, x = bnlens.nn.BatchNorm2d(3), batch(0)

    def run() -> None:
        with bnlens.shared_statistics(layer, x):
            for part in x.split(2):
                layer(part).pow(3).sum().backward()

    with bnlens.untracked(layer):
        run()
    assert int(layer.num_batches_tracked) == 0
    run()
    before = state(layer)
    with bnlens.untracked(layer):
        run()
    assert same([*state(layer)[2:]], before[2:])


def test_vmap_inside_as_with_torchs_layer():
    layer, x = bnlens.nn.BatchNorm2d(3), torch.randn(4, 8, 3, 5, 5)
    with bnlens.untracked(layer):
        found = torch.vmap(layer)(x)
    torch.testing.assert_close(found, torch.stack([torch.nn.BatchNorm2d(3)(each) for each in x]))
    assert int(layer.num_batches_tracked) == 0
