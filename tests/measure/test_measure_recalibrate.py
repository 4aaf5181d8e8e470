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
    """Mean and Bessel variance of each BN layer's input, all earlier layers normalised by these, in float64."""
    x, found = data.double(), []
    for layer in copy.deepcopy(model).double().eval():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            axes = [axis for axis in range(x.ndim) if axis != 1]
            layer.running_mean, layer.running_var = x.mean(axes), x.var(axes)
            found += [layer.running_mean, layer.running_var]
        x = layer(x)
    return [value.detach().float() for value in found]


@pytest.mark.parametrize("sizes", [[60], [20, 20, 20], [37, 22, 1]])
def test_statistics_are_exact_whatever_the_batches(sizes: list[int]) -> None:
    model, data = ready(), images()
    done = bnlens.recalibrate(model, [(part, None) for part in torch.split(data, sizes)])
    assert done.layers == 3
    assert done.samples == 60
    for found, wanted in zip(statistics(model), exact(model, data), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def deep(depth: int = 12) -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(*blocks)


def flat() -> nn.Sequential:
    """Inputs (N, C): one value per sample."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU()) for _ in range(5)]
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 6), *blocks)


class Again(nn.Module):
    """One BN layer at three places one after the other and in a branch; large weights between, so that the plain iteration for
    its statistics swings away from where it should settle."""

    def __init__(self, scale: float = 3.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.linear = nn.Linear(128, 6), nn.Linear(6, 6)
        self.bn, self.between, self.last = nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        with torch.no_grad():
            self.linear.weight *= scale
            self.bn.weight.uniform_(0.5, 2.0)
            self.bn.bias.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        once = self.bn(x)
        twice = self.bn(torch.relu(self.between(self.linear(once))))
        return self.last(self.bn(self.linear(torch.tanh(twice))) + self.bn(0.5 * x + 1))


NETS: dict[str, Any] = {"images": deep, "samples": flat, "again": Again}


@torch.no_grad()
def found_in_eval_mode(model: nn.Module, data: Tensor) -> list[Tensor]:
    """Mean and Bessel variance of all that each BN layer is given when the model is evaluated, (2, C), by layer."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    given: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}

    def look(module: nn.Module, args: Any) -> None:
        given[module].append(args[0].double().transpose(0, 1).flatten(1))

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    model.eval()(data)
    for handle in handles:
        handle.remove()
    joined = [torch.cat(parts, 1) for parts in given.values()]
    return [torch.stack([flat.mean(1), flat.var(1)]) for flat in joined]


def check_found(model: nn.Module, data: Tensor, tolerance: float) -> None:
    """Means in standard deviations, variances as a fraction."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for layer, (mean, variance) in zip(layers, found_in_eval_mode(model, data), strict=True):
        assert float(((layer.running_mean - mean) / (variance + layer.eps).sqrt()).abs().max()) < tolerance
        assert float(((layer.running_var + layer.eps) / (variance + layer.eps) - 1).abs().max()) < 2 * tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("limit", [2**31, 2**10])
@pytest.mark.parametrize("count", [3, 16, 200])
@pytest.mark.parametrize("name", NETS)
def test_one_more_evaluation_finds_what_was_written(
    name: str, count: int, limit: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_memory, "_CPU_LIMIT", limit)  # all at once, or in passes
    model, data = NETS[name]().to(dtype), images(count).to(dtype)
    bnlens.recalibrate(model, data.split(7))
    check_found(model, data, tolerance)


@pytest.mark.parametrize("limit", [2**31, 2**15])
def test_passes_of_a_deep_net(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "_CPU_LIMIT", limit)
    model, data = deep(), images(500)
    done = bnlens.recalibrate(model, list(torch.split(data, 64)))
    assert (done.passes <= 4) == (limit == 2**31)
    check_found(model, data, 1e-5)


def test_one_value_per_channel_in_all_has_no_variance() -> None:
    for model in (flat(), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(128))):
        before = statistics(model)
        with pytest.raises(DataError, match="is given one value per channel in all, which has no variance"):
            bnlens.recalibrate(model, [images(1)])
        assert all(torch.equal(a, b) for a, b in zip(before, statistics(model), strict=True))


def test_a_layer_without_running_statistics_normalises_by_the_batch_as_in_evaluation() -> None:
    model = flat().double()
    model[3][1] = nn.BatchNorm1d(6, track_running_stats=False).double()
    parts = images(60).double().split(20)
    assert bnlens.recalibrate(model, parts).layers == 4
    given: list[Tensor] = []
    model[4][1].register_forward_pre_hook(lambda module, args: given.append(args[0].detach()))
    for part in parts:
        model.eval()(part)
    torch.testing.assert_close(model[4][1].running_mean, torch.cat(given).mean(0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model[4][1].running_var, torch.cat(given).var(0), rtol=1e-10, atol=1e-10)


def test_statistics_that_do_not_settle_are_told() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    with pytest.warns(UserWarning, match="still moved by .* in pass"):
        bnlens.recalibrate(model, [images()], forward=lambda m, x: m(x + torch.randn(())))


@pytest.mark.parametrize("count", [32, 200])
@pytest.mark.parametrize("name", NETS)
def test_a_report_calls_nothing_stale_that_was_just_recalibrated(name: str, count: int) -> None:
    model, data = NETS[name](), images(count)
    loader = [(part, torch.zeros(len(part), dtype=torch.long)) for part in data.split(16)]
    bnlens.recalibrate(model, loader)

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0]).flatten(1), batch[1]

    options: dict[str, Any] = {"statistics_batch_size": 4, "rounds": 1, "shares": False, "forward": forward}
    notes = bnlens.report(model, loader, nn.functional.cross_entropy, **options).notes
    assert "stale statistics" not in {note.kind for note in notes}
    layer = next(layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    layer.running_mean += layer.running_var.sqrt()
    notes = bnlens.report(model, loader, nn.functional.cross_entropy, **options).notes
    assert "stale statistics" in {note.kind for note in notes}


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


def _shared_on_rank(data: Tensor) -> list[Tensor]:
    model = Again().double()
    bnlens.recalibrate(model, data.double().split(7), progress=False)
    return statistics(model)


@pytest.mark.parametrize("cut", [30, 3])
def test_evaluation_over_uneven_ranks_finds_what_was_written(gloo_pool: Any, cut: int) -> None:
    data, model = images(40), Again().double()
    for found in gloo_pool.run(_shared_on_rank, [data[:cut], data[cut:]]):
        for buffer, value in zip((b for name, b in model.named_buffers() if "running" in name), found, strict=True):
            buffer.copy_(value)
        check_found(model, data.double(), 1e-10)


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
            torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


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
