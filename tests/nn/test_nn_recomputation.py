"""Activation checkpointing beside windows: gradients are those without it, or it is refused."""

import copy
import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

import bnlens.nn
from bnlens.errors import UsageError


def net(depth: int = 1, M: float = 64) -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Linear(6, 6), bnlens.nn.BatchNorm1d(6, statistics_batch_size=M), nn.Tanh())
        for _ in range(depth)
    ]
    return nn.Sequential(*blocks).double()


def batches(count: int) -> list[Tensor]:
    return list(torch.randn(count, 16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


def save_products(ctx, op, *args, **kwargs):
    return CheckpointPolicy.MUST_SAVE if op == torch.ops.aten.addmm.default else CheckpointPolicy.PREFER_RECOMPUTE


def nested(model: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(lambda x: checkpoint(model, x, use_reentrant=False).sin(), x, use_reentrant=False).exp()


KINDS = {
    "once": partial(checkpoint, use_reentrant=False),
    "reentrant": partial(checkpoint, use_reentrant=True),
    "nested": nested,
    "selective": partial(
        checkpoint, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, save_products)
    ),
    "in pieces": lambda model, x: checkpoint_sequential(model, 2, x, use_reentrant=False),
}


def plain(kind: str, model: nn.Module, x: Tensor) -> Tensor:
    return model(x).sin().exp() if kind == "nested" else model(x)


def gradients(model: nn.Module, losses: list[Tensor], how: str) -> list[Tensor]:
    if how == "together":
        sum(losses).backward()
    elif how == "last first":
        for loss in reversed(losses):
            loss.backward()
    elif how == "first first":
        for loss in losses:
            loss.backward()
    elif how == "twice":
        for _ in range(2):
            sum(losses).backward(retain_graph=True)
    return [p.grad.clone() for p in model.parameters()] + [layer.window.clone() for layer in norms(model)]


def norms(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, bnlens.nn.DialBatchNorm)]


@pytest.mark.parametrize(
    ("kind", "how"),
    # torch's reentrant and selective checkpoints have no second backward pass of one graph
    [
        (kind, how)
        for kind, how in itertools.product(KINDS, ["together", "last first", "first first", "twice"])
        if how != "twice" or kind not in ("reentrant", "selective")
    ],
)
@pytest.mark.parametrize("same_batch", [False, True])
def test_several_forward_passes_before_a_backward_pass(kind, how, same_batch):
    """The window moves on between a forward pass and its second run; also where all passes have one batch, as with dropout."""
    results = []
    for checkpointed in (False, True):
        model = net(2)
        steps = []
        for step in range(2):  # what the first step leaves must not disturb the second
            model.zero_grad()
            data = batches(4) if not same_batch else batches(1) * 4
            run = partial(KINDS[kind], model) if checkpointed else partial(plain, kind, model)
            losses = [run((x * (1 + step)).requires_grad_()).pow(3).sum() for x in data]
            steps += gradients(model, losses, how)
        results.append(steps)
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_pass_whose_input_needs_no_gradient():
    results = []
    for checkpointed in (False, True):
        layer = bnlens.nn.BatchNorm1d(6, statistics_batch_size=64).double()
        run = partial(checkpoint, layer, use_reentrant=False) if checkpointed else layer
        sum(run(x).pow(3).sum() for x in batches(3)).backward()
        results.append(layer.weight.grad)
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_of_passes_without_a_graph_the_last_are_kept_and_others_refused():
    model = net()
    losses = [checkpoint(model, x.requires_grad_(), use_reentrant=True).pow(3).sum() for x in batches(17)]
    losses[16].backward()
    losses[1].backward()
    with pytest.raises(UsageError, match=r"none of the 16 whose windows .* use_reentrant=False"):
        losses[0].backward()


def test_what_is_kept_goes_with_the_graph_and_no_copy_has_it():
    layer = bnlens.nn.BatchNorm1d(6, statistics_batch_size=64).double()
    held = [layer(x.requires_grad_()) for x in batches(3)]
    assert len([ref for ref in layer._passes._in_graphs if ref() is not None]) == 3
    assert copy.deepcopy(layer)._passes._in_graphs == []
    del held
    assert [ref for ref in layer._passes._in_graphs if ref() is not None] == []
    with torch.no_grad():
        for x in batches(20):
            layer(x)
    assert len(layer._passes._without) == 16


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo looks at it
@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda model: torch.compile(model, backend="aot_eager", fullgraph=True),
        lambda model: torch.compile(lambda x: checkpoint(model, x, use_reentrant=False), backend="aot_eager"),
        lambda model: partial(checkpoint, torch.compile(model, backend="aot_eager"), use_reentrant=False),
    ],
    ids=["compiled", "checkpoint in it", "checkpoint around it"],
)
def test_under_a_compiler(change, passes):
    results = []
    for run_of in (lambda model: model, change):
        torch._dynamo.reset()
        model = net()
        run, steps = run_of(model), []
        for step in range(3):
            model.zero_grad()
            sum(run((x + step).requires_grad_()).pow(3).sum() for x in batches(passes)).backward()
            steps += [model[0][0].weight.grad.clone(), model[0][1].window.clone()]
        results.append(steps)
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_the_compiler_refuses_what_would_be_wrong():
    torch._dynamo.reset()
    model, x = net(), batches(1)[0].requires_grad_()
    whole = torch.compile(lambda x: checkpoint(model, x, use_reentrant=False), backend="aot_eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="activation checkpointing"):
        whole(x)
    compiled = torch.compile(model, backend="aot_eager")
    y = checkpoint(compiled, x, use_reentrant=True)
    with pytest.raises(UsageError, match="no note of its first run; use checkpoint"):
        y.sum().backward()
