"""Statistics over ranks on models that are converted: which layers take them, and over which ranks."""

import copy

import pytest
import torch
import torch.distributed as dist
from conversion_cases import COPIES, ScaleNorm, assert_same, image_net, images, snapshot, sync_net
from torch import Tensor, nn

import bnlens
import bnlens.nn
from bnlens.conversion import _registry, register_rule
from bnlens.errors import UsageError
from gloo_pool import GlooPool


def plain_net() -> nn.Sequential:
    """`sync_net` without synchronisation."""
    model = sync_net()
    model[1], model[3] = nn.BatchNorm2d(4), nn.BatchNorm1d(144)
    return model


def after_a_step(model: nn.Module, x: Tensor, samples: int) -> dict[str, Tensor]:
    """Output, and gradients and statistics after the loss of this share of ``samples`` samples, in double precision."""
    y = model.double().train()(x.double())
    (y.square().sum() / samples).backward()
    found = {"output": y.detach()}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in model.named_parameters()}
    return found | {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}


def step_on_two_ranks(job: tuple[str, float | None, int]) -> tuple[dict[str, Tensor], list[str]]:
    which, M, rank = job
    torch.manual_seed(0)
    model = (plain_net() if which == "plain" else sync_net()).double()
    single = [dist.new_group([0]), dist.new_group([1])]
    if which == "group of one":
        model[1].process_group = model[3].process_group = single[rank]
    elif which == "not a member":  # what new_group returns on other ranks
        model[1].process_group = model[3].process_group = single[1 - rank]
    before = snapshot(model)
    bnlens.convert(model, statistics_batch_size=M, **{"plain": {"sync": True}, "off": {"sync": False}}.get(which, {}))
    shown = [repr(model[1]), repr(model[3])]
    found = after_a_step(copy.deepcopy(model) if which == "sync" else model, images().split(4)[rank], 8)
    found = {name: value.detach() for name, value in found.items()}
    if which == "sync":
        assert_same(snapshot(bnlens.revert(model)), before)
    else:
        bnlens.revert(model)
    assert {type(model[1]), type(model[3])} <= {nn.SyncBatchNorm, nn.BatchNorm2d, nn.BatchNorm1d}
    if which != "plain":
        assert model[1].process_group is {"group of one": single[rank], "not a member": single[1 - rank]}.get(which)
    dist.destroy_process_group(single[rank])
    return found, shown


def expected_over(x: Tensor, M: float | None, samples: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return after_a_step(bnlens.convert(plain_net(), statistics_batch_size=M), x, samples)


@pytest.mark.parametrize("M", [None, 8, 3, 16])
@pytest.mark.parametrize("which", ["sync", "plain"])
def test_converted_layers_take_statistics_over_ranks(gloo_pool: GlooPool, which, M):
    """A SyncBatchNorm goes on as it was, on a CPU too, and other layers do as they are told."""
    (one, shown), (other, _) = gloo_pool.run(step_on_two_ranks, [(which, M, rank) for rank in (0, 1)])
    assert all("sync=True" in layer for layer in shown)
    expected = expected_over(images(), M, 8)
    for name, value in expected.items():
        if name == "output":
            found = torch.cat([one[name], other[name]])
        elif name.startswith("gradient"):
            found = one[name] + other[name]
        else:
            assert torch.equal(one[name], other[name])
            found = one[name]
        torch.testing.assert_close(
            found, value.detach(), rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("which", ["off", "group of one", "not a member"])
def test_where_torchs_does_not_synchronise_neither_does_ours(gloo_pool: GlooPool, which):
    for rank, (found, shown) in enumerate(gloo_pool.run(step_on_two_ranks, [(which, None, rank) for rank in (0, 1)])):
        expected = expected_over(images().split(4)[rank], None, 8)
        assert ("sync=True" in shown[0]) == (which != "off")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value.detach(), rtol=0, atol=1e-10)


def test_without_ranks_a_sync_layer_is_local_and_a_plain_one_told_to_is_refused():
    model = bnlens.convert(sync_net()).train()
    assert [model[1].sync, model[3].sync] == [True, True]
    assert model(images()).shape == (8, 2)
    model = bnlens.convert(plain_net(), sync=True).train()
    with pytest.raises(UsageError, match=r"call torch.distributed.init_process_group first, or set sync=False"):
        model(images())


def test_layers_that_did_not_synchronise_do_not_by_default():
    model = bnlens.convert(image_net())
    assert not any(layer.sync for layer in model.modules() if isinstance(layer, bnlens.nn.DialBatchNorm))
    assert bnlens.convert(image_net(), sync=True).block[1].sync is True


@COPIES
def test_copies_keep_it(copied):
    twin = copied(bnlens.convert(sync_net(), statistics_batch_size=16))
    assert [twin[1].sync, twin[3].sync] == [True, True]
    assert type(bnlens.revert(twin)[1]) is nn.SyncBatchNorm


def test_layers_that_a_rule_builds_are_told_too(monkeypatch):
    monkeypatch.setattr(_registry, "_RULES", dict(_registry._RULES))
    register_rule(ScaleNorm, to=lambda layer: bnlens.nn.BatchNorm1d(3, sync=True), back=lambda layer: ScaleNorm(3))
    for sync, expected in ((None, True), (False, False), (True, True)):
        assert bnlens.convert(ScaleNorm(3), sync=sync).sync is expected
