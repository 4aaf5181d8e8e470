"""Population statistics against float64 statistics of one full batch: at once, in passes, streamed and over ranks."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlens.errors import DataError, ModelError
from bnlens.measure import _memory
from bnlens.measure._intercept import Handler, Interceptor, batch_norm_layers, handed_back
from bnlens.measure._loss import SampleLoss
from bnlens.measure._pool import Pool, SamplePool
from bnlens.measure._population import Population, estimate_population, settle_population
from bnlens.measure._probe import Probe, default_forward
from bnlens.measure._stream import StreamedPool

X = torch.randn(90, 2, 6, 6, generator=torch.Generator().manual_seed(1)).exp()
Y = torch.zeros(90, dtype=torch.long)


def net(depth: int = 4) -> nn.Sequential:
    """A plain net of ``depth`` BN layers; the last one sees no pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(2, 4, 3)]
        for _ in range(depth - 1):
            layers += [nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))
        for module in model:
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.3)
        return model


@torch.no_grad()
def exact(model: nn.Sequential, x: Tensor = X) -> dict[str, Tensor]:
    """Mean, biased variance, skewness and excess kurtosis by layer, (4, C), in float64."""
    found, h = {}, x.double()
    for name, layer in copy.deepcopy(model).double().named_children():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            flat = h.transpose(0, 1).flatten(1)
            mean, variance = flat.mean(1), flat.var(1, unbiased=False)
            z = (flat - mean[:, None]) / variance.sqrt()[:, None]
            found[name] = torch.stack([mean, variance, (z**3).mean(1), (z**4).mean(1) - 3])
        h = layer.train()(h)
    return found


@contextmanager
def probing(model: nn.Module, pool: Pool, batch_size: int = 16) -> Iterator[Probe]:
    interceptor = Interceptor(batch_norm_layers(model))
    with handed_back(model), interceptor.attached():
        yield Probe(model, interceptor, pool, SampleLoss(F.cross_entropy), default_forward, batch_size)


def batches(start: int = 0, stop: int = 90) -> list[tuple[Tensor, Tensor]]:
    return list(zip(X[start:stop].split(13), Y[start:stop].split(13), strict=True))


def check(found: dict[str, Population], wanted: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert list(found) == list(wanted)
    for name, (mean, variance, skewness, kurtosis) in wanted.items():
        ours = found[name]
        assert float(((ours.mean - mean) / variance.sqrt()).abs().max()) < tolerance
        assert float((ours.variance / variance - 1).abs().max()) < 3 * tolerance
        torch.testing.assert_close(ours.skewness.double(), skewness, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(ours.excess_kurtosis.double(), kurtosis, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [SamplePool.from_loader, StreamedPool.from_loader])
@pytest.mark.parametrize("depth", [2, 20])
def test_two_passes_are_exact_however_deep_and_more_of_a_stream(make: Callable[..., Pool], depth: int) -> None:
    model, shown = net(depth), []
    with probing(model, make(batches(), 1000)) as probe:
        found, passes = estimate_population(probe, advance=lambda: shown.append(1))
    assert passes == len(shown)
    assert (passes == 2) == isinstance(probe.pool, SamplePool)  # one batch would hold what a stream does not
    check(found, exact(model), 2e-6)
    assert [item.count for item in found.values()] == [90 * 16] * (depth - 1) + [90]


def test_one_pass_on_request() -> None:
    model = net()
    with probing(model, SamplePool.from_loader(batches(), 1000)) as probe:
        found, passes = estimate_population(probe, max_passes=1)
    assert passes == 1
    check(found, exact(model), 2e-6)


def test_passes_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    monkeypatch.setattr(_memory, "_CPU_LIMIT", 60 * 4 * 4 * 4 * 4 * 4)
    largest = 0

    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        nonlocal largest
        largest = max(largest, len(batch[0]))
        return default_forward(model, batch)

    with probing(model, SamplePool.from_loader(batches(), 1000)) as probe:
        probe.forward = forward
        found, passes = estimate_population(probe)
    assert passes > 2
    assert largest <= 16
    check(found, exact(model))


def settle(model: nn.Module, at_once: Callable[[Probe, Handler], None]) -> tuple[dict[str, Population], int]:
    with probing(model, SamplePool.from_loader(batches(), 1000)) as probe:

        def run(handler: Handler) -> None:
            for batch in probe.pool.shard(16):
                probe.outputs(batch, handler)

        return settle_population(run, at_once=lambda handler: at_once(probe, handler))


def _no_memory(probe: Probe, handler: Handler) -> None:
    probe.outputs(next(probe.pool.shard(50)), handler)
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def _other_samples(probe: Probe, handler: Handler) -> None:
    probe.outputs(next(probe.pool.shard(5)), handler)


@pytest.mark.parametrize("at_once", [_no_memory, _other_samples])
def test_what_goes_wrong_at_once_is_put_right_by_passes(at_once: Callable[[Probe, Handler], None]) -> None:
    model = net()
    found, passes = settle(model, at_once)
    assert passes > 2
    check(found, exact(model))


def test_a_module_that_only_takes_small_batches() -> None:
    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 16:
                raise ValueError("too many")
            return x

    model = net()
    with probing(nn.Sequential(Small(), *model), SamplePool.from_loader(batches(), 1000)) as probe:
        found, passes = estimate_population(probe)
    assert passes > 2
    check({str(int(name) - 1): item for name, item in found.items()}, exact(model))


def test_a_layer_that_runs_now_and_then() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.rarely, self.calls = nn.BatchNorm2d(2), nn.BatchNorm2d(2), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            x = self.always(x)
            return (self.rarely(x) if self.calls < 3 else x).mean((2, 3))

    with (
        probing(Sometimes(), SamplePool.from_loader(batches(), 1000)) as probe,
        pytest.raises(ModelError, match=r"'rarely' .* the model must run the same layers every time"),
    ):
        estimate_population(probe)


def test_data_that_are_not_finite() -> None:
    x = X.clone()
    x[50] = torch.inf
    with (
        probing(net(), SamplePool.from_loader([(x, Y)], 1000)) as probe,
        pytest.raises(DataError, match="the input of layer '1' is not finite"),
    ):
        estimate_population(probe)


def _on_rank(task: tuple[int, int, str]) -> Any:
    start, stop, fault = task
    runs = 0

    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        nonlocal runs
        runs += 1
        if (fault == "large" and len(batch[0]) > 16) or (fault == "late" and runs > 3):
            raise MemoryError("no more memory")
        return default_forward(model, batch)

    model = net(6)
    with probing(model, SamplePool.from_loader(batches(start, stop), 1000)) as probe:
        probe.forward = forward
        try:
            found, passes = estimate_population(probe)
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
    return {name: (item.mean, item.variance, item.count) for name, item in found.items()}, passes


@pytest.mark.parametrize("cut", [45, 7, 84])
def test_ranks_in_lock_step(gloo_pool: Any, cut: int) -> None:
    ranks = gloo_pool.run(_on_rank, [(0, cut, ""), (cut, 90, "")])
    wanted = exact(net(6))
    for found, passes in ranks:
        assert passes == 2
        for name, (mean, variance, *_) in wanted.items():
            torch.testing.assert_close(found[name][0].double(), mean, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(found[name][1].double(), variance, rtol=1e-5, atol=1e-6)
            assert all(torch.equal(a, b) for a, b in zip(found[name][:2], ranks[0][0][name][:2], strict=True))
    assert ranks[0][0]["1"][2] == 90 * 16


def test_a_rank_that_cannot_go_at_once_sends_all_to_passes(gloo_pool: Any) -> None:
    ranks = gloo_pool.run(_on_rank, [(0, 40, ""), (40, 90, "large")])
    assert ranks[0][1] == ranks[1][1] > 2
    for name, (mean, *_) in exact(net(6)).items():
        torch.testing.assert_close(ranks[0][0][name][0].double(), mean, rtol=1e-4, atol=1e-4)


def test_an_error_on_one_rank_is_raised_on_all(gloo_pool: Any) -> None:
    assert gloo_pool.run(_on_rank, [(0, 40, "late"), (40, 90, "late")]) == ["MemoryError: no more memory"] * 2
    assert gloo_pool.run(_on_rank, [(0, 80, "late"), (80, 90, "")]) == ["MemoryError: no more memory"] * 2
