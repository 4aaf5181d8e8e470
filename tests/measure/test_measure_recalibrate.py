"""`bnlens.recalibrate` against exact statistics layer by layer, on ranks, and on mistakes."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnlens
from bnlens.errors import DataError, ModelError
from bnlens.measure import Recalibration, _memory


def net(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6, **options), nn.ReLU(),
        nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5, **options), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(4), nn.BatchNorm1d(4, **options),
    )  # fmt: skip


def images(count: int = 60, seed: int = 1) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def ready(**options: Any) -> nn.Sequential:
    model = net(**options)
    model(images(4))
    for layer in model:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
    return model


def statistics(model: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in model.named_buffers() if "running" in name]


@torch.no_grad()
def exact(model: nn.Sequential, data: Tensor) -> list[Tensor]:
    """Mean and Bessel variance of each BN layer's input, all earlier layers normalised by theirs, in float64."""
    x, found = data.double(), []
    for layer in copy.deepcopy(model).double().eval():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            axes = [axis for axis in range(x.ndim) if axis != 1]
            layer.running_mean, layer.running_var = x.mean(axes), x.var(axes, unbiased=False)
            found += [x.mean(axes), x.var(axes, unbiased=True)]
        x = layer(x)
    return [value.detach().float() for value in found]


@pytest.mark.parametrize("sizes", [[60], [20, 20, 20], [37, 22, 1]])
def test_statistics_are_exact_whatever_the_batches(sizes: list[int]) -> None:
    model, data = ready(), images()
    done = bnlens.recalibrate(model, [(part, None) for part in torch.split(data, sizes)], tolerance=1e-7)
    assert done.layers == 3
    assert done.samples == 60
    for found, wanted in zip(statistics(model), exact(model, data), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def deep(depth: int = 12) -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(*blocks)


@torch.no_grad()
def found_in_eval_mode(model: nn.Module, data: Tensor) -> list[Tensor]:
    """Mean and Bessel variance of each BN layer's input when the model is evaluated."""
    found: list[Tensor] = []

    def look(module: nn.Module, args: Any) -> None:
        flat = args[0].double().transpose(0, 1).flatten(1)
        found.extend([flat.mean(1), flat.var(1)])

    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    model.eval()(data)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("limit", [2**31, 2**15])
def test_one_more_pass_finds_what_was_set(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "_CPU_LIMIT", limit)
    model, data = deep(), images(500)
    done = bnlens.recalibrate(model, list(torch.split(data, 64)))
    assert (done.passes == 2) == (limit == 2**31)
    pairs = zip(statistics(model), found_in_eval_mode(model, data), strict=True)
    for ours, found in pairs:
        torch.testing.assert_close(ours.double(), found, rtol=2e-4, atol=2e-4)


def test_images_of_different_sizes() -> None:
    model = deep(3)
    batches = [images(20), images(20, seed=3)[..., :5]]
    done = bnlens.recalibrate(model, batches)
    assert done.samples == 40
    assert done.passes > 2
    values = torch.cat([model[0][0](x).transpose(0, 1).flatten(1) for x in batches], 1)
    torch.testing.assert_close(model[0][1].running_mean, values.mean(1).detach())


def test_better_than_one_pass_in_train_mode() -> None:
    data = images()
    batches = [(part, None) for part in torch.split(data, 6)]
    ours, theirs = ready(), ready()
    bnlens.recalibrate(ours, batches)
    torch.optim.swa_utils.update_bn([x for x, _ in batches], theirs)

    def error(model: nn.Sequential) -> float:
        pairs = zip(statistics(model)[2:], exact(model, data)[2:], strict=True)
        return max(float((found - wanted).abs().max()) for found, wanted in pairs)

    assert error(ours) < 0.01 * error(theirs)


def test_everything_else_is_left_as_it_was() -> None:
    model = ready(momentum=0.3)
    model.train()
    model[4].eval()  # frozen
    frozen = statistics(model)[2:4]
    state = torch.random.get_rng_state()
    bnlens.recalibrate(model, [images()])
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert not model[4].training
    assert model[1].momentum == 0.3
    assert int(model[1].num_batches_tracked) == 0
    assert all(torch.equal(a, b) for a, b in zip(frozen, statistics(model)[2:4], strict=True))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_written_on_an_error(error: type[BaseException]) -> None:
    model = ready()
    before = statistics(model)

    class Broken:
        passes = 0

        def __iter__(self) -> Iterator[Tensor]:
            self.passes += 1
            yield images()
            if self.passes == 2:
                raise error

    with pytest.raises(error):
        bnlens.recalibrate(model, Broken())
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(model), strict=True))


def test_a_shared_layer_gets_the_statistics_of_all_its_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(x) + self.bn(2 * x + 4)

    model = Twice()
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    assert bnlens.recalibrate(model, [x]).layers == 1
    both = torch.cat([x, 2 * x + 4])
    torch.testing.assert_close(model.bn.running_mean, both.mean(0))
    torch.testing.assert_close(model.bn.running_var, both.var(0))


def test_dicts_and_a_forward_of_ones_own() -> None:
    model, data = ready(), images()
    bnlens.recalibrate(model, [{"x": data, "labels": torch.zeros(60)}])
    wanted = statistics(model)
    bnlens.recalibrate(model, [data], forward=lambda m, batch: {"out": m(batch)})
    assert all(torch.equal(a, b) for a, b in zip(wanted, statistics(model), strict=True))


def _on_rank(data: Tensor) -> tuple[Recalibration, list[Tensor]]:
    model = ready()
    done = bnlens.recalibrate(model, list(torch.split(data, 7)), progress=False)
    return done, statistics(model)


def _empty_on_one_rank(data: Tensor) -> str:
    try:
        bnlens.recalibrate(ready(), list(torch.split(data, 7)) if len(data) else [], progress=False)
    except DataError as error:
        return str(error)
    return ""


def test_samples_of_all_ranks_count(gloo_pool: Any) -> None:
    data = images()
    model = ready()
    bnlens.recalibrate(model, [data])
    for done, found in gloo_pool.run(_on_rank, [data[:23], data[23:]]):
        assert done == Recalibration(layers=3, passes=2, samples=60)
        for ours, wanted in zip(found, statistics(model), strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-4)


def test_an_empty_rank_is_an_error_on_all(gloo_pool: Any) -> None:
    messages = gloo_pool.run(_empty_on_one_rank, [images(8), images(0)])
    assert all("empty on rank 1" in message for message in messages)


def test_mistakes() -> None:
    for model in (nn.Linear(2, 2), nn.BatchNorm2d(2, track_running_stats=False)):
        with pytest.raises(ModelError, match="nothing to recalibrate"):
            bnlens.recalibrate(model, [images()])
    mistakes = {"the loader is empty": [], "iterated again": iter([images()]), "not finite": [images() * float("nan")]}
    for words, loader in mistakes.items():
        with pytest.raises(DataError, match=words):
            bnlens.recalibrate(ready(), loader)
